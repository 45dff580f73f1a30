/**
 * The program that QEMU starts for each connection of a guest to a service of the host: it carries bytes between its standard input and output, which are that
 * connection, and a unix socket. Each direction has a process, so neither waits for the other; ends of streams are passed on one by one.
 *
 * Perl, because it is on every Debian (`perl-base`), starts in a few milliseconds, and needs no module for this. Node takes 40 ms of a processor for
 * each connection, and `socat` and `nc -U` are not installed by default.
 */
export const relay = `use strict;
$SIG{PIPE} = "IGNORE";
# AF_UNIX, SOCK_STREAM
socket(my $service, 1, 1, 0) or die;
connect($service, pack("Sa*x", 1, $ARGV[0])) or die;
sub carry {
  my ($from, $to) = @_;
  my $open = 1;
  while (sysread($from, my $bytes, 65536)) {
    # What nobody takes any more is read all the same: else the end of the connection would destroy what goes the other way.
    for (my $at = 0; $open && $at < length $bytes;) {
      my $written = syswrite($to, $bytes, length($bytes) - $at, $at);
      defined $written ? ($at += $written) : ($open = 0);
    }
  }
  # SHUT_WR
  shutdown($to, 1);
}
my $child = fork;
defined $child or die;
if ($child) { carry(*STDIN, $service); waitpid($child, 0) }
else { carry($service, *STDOUT) }
`

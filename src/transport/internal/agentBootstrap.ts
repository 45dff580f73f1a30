/** The part of the agent that the bootstrap shell is asked for: ports, files and pipes of lanes, their start and their end. */

export const bootstrap = String.raw`
# Finds the device of every port: _vt_port_3 for vmtest.3.
_vt_ports() {
  cd /sys/class/virtio-ports && for _vt_x in *; do
    IFS=. read -r _vt_a _vt_b <$_vt_x/name && [ "$_vt_a" = vmtest ] && eval "_vt_port_$_vt_b=/dev/$_vt_x"
  done
  cd "$HOME" || cd /
} 2>/dev/null

# lanes: makes what they write to, with as few processes for all of them as for one: a pipe that was used may still be written to, and is
# replaced
_vt_files() {
  for _vt_y in "$@"; do
    shift
    [ -e $_vt_d/$_vt_y ] || set -- "$@" $_vt_d/$_vt_y
  done
  [ $# = 0 ] || mkdir -m 700 "$@"
  for _vt_y in "$@"; do
    for _vt_x in $_vt_y.lane $_vt_y/fork $_vt_y/pid $_vt_y/work $_vt_y/used; do echo >$_vt_x; done
    true >$_vt_y/cmd
  done
} 2>/dev/null

_vt_pipes() {
  _vt_m= _vt_q=
  for _vt_y in "$@"; do
    _vt_x=used
    shift
    [ ! -p $_vt_d/$_vt_y/eb ] || {
      read -r _vt_x <$_vt_d/$_vt_y/used
      [ -n "$_vt_x" ] || continue
      _vt_m="$_vt_m $_vt_y" _vt_q="$_vt_q $_vt_d/$_vt_y/??"
    }
    set -- "$@" $_vt_d/$_vt_y/oa $_vt_d/$_vt_y/ob $_vt_d/$_vt_y/ea $_vt_d/$_vt_y/eb
  done
  [ -z "$_vt_q" ] || rm -f $_vt_q
  [ $# = 0 ] || mkfifo -m 666 "$@"
  for _vt_y in $_vt_m; do echo 1<>$_vt_d/$_vt_y/used; done
} 2>/dev/null

_vt_prepare() {
  _vt_lane=$1 _vt_k=$_vt_d/$1
  _vt_files $1
  _vt_pipes $1
  echo used 1<>$_vt_k/used
  echo 1<>$_vt_k/fork
}

# lane nonce in out err: devices. A bash forks what watches over the lane, which is much cheaper than to start another shell; its process
# group is its own, but its session is not. So not where the session has a terminal, which commands could then open.
if [ -n "$BASH_VERSION" ]; then
  _vt_start() {
    read -r _vt_x _vt_x _vt_x _vt_x _vt_x _vt_x _vt_a _vt_x </proc/self/stat
    [ "$_vt_a" = 0 ] || {
      _vt_start_apart "$@"
      # Else the shell says on the console how it ended.
      disown $!
      return
    }
    set -m
    (
      set +m
      _vt_prepare $1
      until true 3<$3 6>$4 7>$5; do sleep 0.1 || sleep 1; done
      exec 3<$3 6>$4 7>$5
      _vt_supervise $2 $BASHPID
    ) </dev/null >/dev/null 2>&1 &
    echo $! 1<>$_vt_d/$1.lane
    disown $!
    set +m
  }
else
  # With a terminal it has job control, and would say on the console how each process ended.
  set +m
  _vt_start() {
    _vt_start_apart "$@"
  }
fi

_vt_start_apart() {
  (
    _vt_prepare $1
    until true 3<$3 6>$4 7>$5; do sleep 0.1 || sleep 1; done
    exec setsid $_vt_shell $_vt_d/bash $_vt_d $1 lane $2 3<$3 6>$4 7>$5
  ) </dev/null >/dev/null 2>&1 &
  echo $! 1<>$_vt_d/$1.lane
}

# lane nonce port: vsock ports of the host, from this one on. No shell can open a socket: images have a program for it, and perl-base is in
# every Debian.
_vt_dial() {
  (
    _vt_prepare $1
    [ ! -x /lib/vmtest/vsock ] || exec setsid /lib/vmtest/vsock dial $3 /bin/$_vt_shell $_vt_d/bash $_vt_d $1 lane $2
    exec setsid perl -MPOSIX -e '$^F = 99; my $port = shift; my @h = (\*A, \*B, \*C); my @fd = (3, 6, 7);
      for (@h) { socket($_, 40, 1, 0) && connect($_, pack("SSLLx4", 40, 0, $port++, 2)) or exit 1 }
      POSIX::dup2(fileno($h[$_]), 50 + $_) for 0..2;
      close $_ for @h;
      for (0..2) { POSIX::dup2(50 + $_, $fd[$_]); POSIX::close(50 + $_) }
      exec @ARGV' $3 $_vt_shell $_vt_d/bash $_vt_d $1 lane $2
  ) </dev/null >/dev/null 2>&1 &
  echo $! 1<>$_vt_d/$1.lane
}

# lane: leaves alone what its last command left behind, and gives it somewhere to write
_vt_stop() {
  _vt_k=$_vt_d/$1
  # Who makes processes goes first, and all of it, even of a lane that is just starting: see _vt_mine.
  if read -r _vt_a <$_vt_k.lane && [ -n "$_vt_a" ]; then
    echo 1<>$_vt_k.lane
    kill -KILL $_vt_a
    kill -KILL -- -$_vt_a
  fi
  if read -r _vt_g _vt_p <$_vt_k/fork && [ -n "$_vt_p" ]; then
    kill -0 $_vt_g && kill -KILL -- -$_vt_g
    for _vt_x in o e; do
      if [ -p $_vt_k/$_vt_x$_vt_p ]; then
        exec 8<>$_vt_k/$_vt_x$_vt_p 9<$_vt_k/$_vt_x$_vt_p 8>&-
        cat <&9 >/dev/null 2>&1 &
        exec 9<&-
      fi
    done
  fi
  # A command that still runs ends; what one that has ended left behind lives on.
  read -r _vt_g _vt_x <$_vt_k/pid && [ -n "$_vt_g" ] && kill -0 $_vt_g && kill -KILL -- -$_vt_g
  for _vt_x in fork pid work; do echo 1<>$_vt_k/$_vt_x; done
} 2>/dev/null

# lane nonce signal: to the process group of the command with that nonce, if it is there yet
_vt_kill() {
  _vt_answer=
  read -r _vt_g _vt_n _vt_x <$_vt_d/$1/pid && [ "$_vt_n" = $2 ] && kill -$3 -- -$_vt_g && _vt_answer=sent
} 2>/dev/null

# lane nonce …: in which of these lanes another than the worker can still write into the pipes of the command with that nonce.
# Flags that end in 1 or 2 are those of somebody who writes; the pumps read.
_vt_held() {
  _vt_m= _vt_answer=
  while [ $# -gt 1 ]; do
    read -r _vt_g _vt_n _vt_p _vt_x <$_vt_d/$1/pid && [ "$_vt_n" = $2 ] && read -r _vt_a <$_vt_d/$1/work &&
      eval "_vt_w_$1=/proc/$_vt_a _vt_p_$1=$_vt_p" && _vt_m="$_vt_m $1"
    shift 2
  done
  [ -e /proc/self/fd ] || _vt_answer=$_vt_m
  for _vt_a in /proc/[0-9]*; do
    cd $_vt_a/fd || continue
    for _vt_b in *; do
      [ -p $_vt_b ] || continue
      for _vt_x in $_vt_m; do
        eval "_vt_g=\$_vt_w_$_vt_x _vt_p=\$_vt_p_$_vt_x"
        [ $_vt_g != $_vt_a ] || continue
        [ $_vt_b -ef $_vt_d/$_vt_x/o$_vt_p ] || [ $_vt_b -ef $_vt_d/$_vt_x/e$_vt_p ] || continue
        while read -r _vt_g _vt_n; do
          case $_vt_g$_vt_n in flags:*[12]) _vt_answer="$_vt_answer $_vt_x" ;; esac
        done <../fdinfo/$_vt_b
      done
    done
  done
  cd "$HOME" || cd /
} 2>/dev/null

# lanes: which of these wait for a command, with the process that will become it
_vt_waiting() {
  _vt_answer=
  for _vt_y in "$@"; do
    _vt_g= _vt_n=
    read -r _vt_g _vt_x <$_vt_d/$_vt_y/fork
    read -r _vt_n _vt_x <$_vt_d/$_vt_y/pid
    [ -n "$_vt_g" ] && [ "$_vt_g" != "$_vt_n" ] && kill -0 $_vt_g && _vt_answer="$_vt_answer $_vt_y"
  done
} 2>/dev/null

# lanes: the same. The others are stopped, and so is every one that is not among them.
_vt_attach() {
  _vt_waiting "$@"
  for _vt_y in $_vt_lanes; do
    case "$_vt_answer " in
    *" $_vt_y "*) ;;
    *) [ ! -e $_vt_d/$_vt_y.lane ] || _vt_stop $_vt_y ;;
    esac
  done
  _vt_answer="$_vt_guest;$_vt_answer;"
} 2>/dev/null

# The state of the workers of some lanes, as in /proc/pid/stat; 0 is a worker that is gone.
_vt_states() {
  for _vt_x in "$@"; do
    _vt_b=0
    read -r _vt_a <$_vt_d/$_vt_x/work && [ -n "$_vt_a" ] && read -r _vt_b </proc/$_vt_a/stat
    case $_vt_b in
    *') T'* | *') t'* | *') Z'* | 0) printf '%s0 ' $_vt_x ;;
    *) printf '%s1 ' $_vt_x ;;
    esac
  done
} 2>/dev/null
`

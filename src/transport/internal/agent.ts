/**
 * The guest's side of the channel, as text that bash, dash and busybox ash can read.
 *
 * A fork costs 5 to 40 ms under emulation and starting a program twice that, so the path of one command is builtins, but
 * for the subshell it runs in. Names start with `_vt`, since commands see them.
 *
 * A *lane* is a worker shell that reads commands from fd 3, two pumps that copy what it says to fd 6 and 7, and a
 * supervisor. Output goes through named pipes and not straight to the port, because a port cannot be opened twice, so
 * that `echo >/dev/stderr` would fail. A pump is one `cat a b a b …`: it moves on to the next pipe when nobody holds the
 * last one open any more, and the worker blocks in opening it until then. So a lane says "ready" exactly when no process
 * that its last command left behind can write any more, and whatever such a process wrote comes before the "ready".
 *
 * Said on both outputs (RS is byte 0x1e):
 *
 *     RS nonce SP status SP check LF     the command ended; status and check make 255, so that no damaged byte passes
 *     RS nonce SP R LF                   the lane is ready for a command
 *
 * Read from fd 3: `nonce mode lines bytes LF`, then the lines of the command, then the bytes of its spooled file.
 *
 *     mode n   no input
 *     mode b   one more line: the input, as `printf %b` takes it
 *     mode s   the input follows in frames of `size count LF data`, `0 0 LF` the last
 *     mode r   nothing runs; the worker says again that it is ready
 *     mode p   the same, without a new process; only from a worker that waits for a command
 *
 * The files of a lane are made when the guest is given the agent, and written over in place from then on, a line each: a guest whose
 * disk fills up, its /run included, runs commands as before.
 */

/** Shell text without its comments and indentation: a guest reads what is typed byte by byte, and every worker reads it again. */
const terse = (text: string): string => text.replace(/^[ \t]*(?:#.*)?\n/gm, "").replace(/^[ \t]+/gm, " ")

/** What workers, supervisors and the bootstrap shell run; in the guest it is the file `bash`, as errors of commands begin. */
export const agent = terse(String.raw`
_vt_lanes='1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20'

# bytes: a command into the lane's file. All of it is read; one that the guest has no room for is left empty.
_vt_spool() {
  _vt_q=$(($1 / 65536)) _vt_r=$(($1 % 65536))
  {
    [ $_vt_q = 0 ] || dd bs=65536 count=$_vt_q iflag=fullblock
    [ $_vt_r = 0 ] || dd bs=$_vt_r count=1 iflag=fullblock
  } <&3 2>/dev/null | {
    cat >$_vt_k/cmd || {
      true >$_vt_k/cmd
      cat >/dev/null
    }
  } 2>/dev/null
}

# Frames are read to their end even when the command no longer reads.
_vt_feed() {
  while read -r _vt_b _vt_q <&3 && [ "$_vt_b" -gt 0 ]; do
    dd bs=$_vt_b count=$_vt_q iflag=fullblock 2>/dev/null <&3
  done | { trap '' PIPE; cat 2>/dev/null; exec >/dev/null; cat; }
}

_vt_lines() {
  IFS= read -r _vt_c <&3
  while [ $_vt_l -gt 1 ]; do
    IFS= read -r _vt_x <&3
    _vt_c=$_vt_c$_vt_nl$_vt_x _vt_l=$((_vt_l - 1))
  done
}

# points: how readily the kernel ends this process when memory runs out. Commands are like any others, vmtest's own shells go last.
_vt_oom() {
  echo $1 >/proc/self/oom_score_adj
} 2>/dev/null

# The last process that the guest made.
_vt_last() {
  _vt_b=0
  read -r _vt_a _vt_a _vt_a _vt_a _vt_b </proc/loadavg
}

# Whether the lane has not been stopped: then the process that asks must go, since it holds the lane's port.
_vt_mine() {
  IFS=' ' read -r _vt_x <$_vt_k.lane && [ "$_vt_x" = $_vt_boss ]
}

# Whether the guest runs commands: one that may reboot does not while it is shutting down. The file is there in guests that may.
_vt_up() {
  [ ! -e $_vt_d/reboots ] || ! _vt_down
}

# Whether the guest is shutting down; _vt_x is what it does then: reboot, or off. To ask systemd takes a program, so it is asked when process 1
# has worked since it was asked last: it must, to begin a shutdown, and has by the time at which who told it to has its answer.
_vt_down() {
  _vt_x=reboot
  # What tiny guests make.
  [ ! -e /run/vmtest-down ] || return 0
  [ -d /run/systemd/system ] && read -r _vt_t _vt_u </proc/1/schedstat && read -r _vt_u <$_vt_d/reboots || return 1
  # Nanoseconds.
  [ $((_vt_t - _vt_u)) -gt 300000 ] || return 1
  IFS= read -r _vt_x </proc/1/cmdline
  case $_vt_x in *shutdown*poweroff* | *shutdown*halt*)
    _vt_x=off
    return 0
  esac
  if _vt_x=$(systemctl list-jobs --no-legend --no-pager); then
    case $_vt_x in
    *' reboot.target '* | *' kexec.target '* | *' soft-reboot.target '*) ;;
    *' shutdown.target '*)
      _vt_x=off
      return 0 ;;
    *)
      read -r _vt_t _vt_u </proc/1/schedstat
      echo $_vt_t 1<>$_vt_d/reboots
      return 1 ;;
    esac
  fi
  _vt_x=reboot
} 2>/dev/null

# pid: what a process that was made beforehand does. A command with no input it becomes; the rest it leaves to the worker.
# It says that it is there before it looks whether it should: so _vt_stop finds it, or it finds that the lane was stopped.
_vt_await() {
  _vt_oom 0
  echo "$1 $_vt_p" 1<>$_vt_k/fork
  _vt_mine || exit 0
  while :; do
    until IFS=' ' read -r _vt_n _vt_m _vt_l _vt_s <&3; do sleep 0.2 || sleep 1; done
    [ "$_vt_m" = p ] || break
    printf '\036%s R\n' $_vt_n
    printf '\036%s R\n' $_vt_n >&2
  done
  [ $_vt_m$_vt_s = n0 ] || {
    echo "$1 $_vt_n $_vt_p $_vt_m $_vt_l $_vt_s" 1<>$_vt_k/pid
    exit 0
  }
  _vt_lines
  _vt_last
  echo "$1 $_vt_n $_vt_p - $_vt_b" 1<>$_vt_k/pid
  exec 3<&-
  _vt_up || _vt_refuse
}

# Says that the command is not run, on its errors, and how it would have ended.
_vt_refuse() {
  printf '\036%s %s\n' $_vt_n $_vt_x >&2
  exit 125
}

# status [last]: when no process was made since the command began, it left none behind and the lane is ready, too.
_vt_end() {
  _vt_clean=
  [ -z "$2" ] || _vt_last
  if [ "$2" = "$_vt_b" ] && [ $_vt_b != 0 ]; then
    _vt_clean=1
    printf '\036%s %s %s\n\036%s R\n' $_vt_n $1 $((255 - $1)) $_vt_n >&4
    printf '\036%s %s %s\n\036%s R\n' $_vt_n $1 $((255 - $1)) $_vt_n >&5
  else
    printf '\036%s %s %s\n' $_vt_n $1 $((255 - $1)) >&4
    printf '\036%s %s %s\n' $_vt_n $1 $((255 - $1)) >&5
  fi
}

_vt_nl='
'
if [ -n "$BASH_VERSION" ]; then
  _vt_shell=bash
  _vt_wait=wait
  [ $BASH_VERSINFO -lt 5 ] || _vt_wait='wait -f'
  _vt_fork() {
    set -m
    (
      set +m --
      _vt_await $BASHPID
      set -euo pipefail
      eval "$_vt_c"
    ) </dev/null >&4 2>&5 4>&- 5>&- &
    $_vt_wait $!
  }
  _vt_run() {
    set -m
    (
      _vt_oom 0
      echo "$BASHPID $_vt_n $_vt_p" 1<>$_vt_k/pid
      set +m --
      set -euo pipefail
      eval "$_vt_c"
    ) >&4 2>&5 3<&- 4>&- 5>&- &
    $_vt_wait $!
    _vt_end $?
  }
else
  # A shell without a terminal has no job control; a new session is the only way to a new process group.
  _vt_shell=sh
  command -v bash >/dev/null && _vt_shell=bash
  _vt_set='set -eu'
  (set -o pipefail) 2>/dev/null && _vt_set='set -euo pipefail'
  _vt_fork() {
    # Not in the background, where a shell without job control ignores SIGINT.
    setsid sh -c '_vt_d=$1 _vt_k=$2 _vt_p=$3 _vt_boss=$4; set --; . $_vt_d/bash
      _vt_await $$; eval "$_vt_set"; eval "$_vt_c"' \
      sh $_vt_d $_vt_k $_vt_p $_vt_boss </dev/null >&4 2>&5 4>&- 5>&-
  }
  _vt_run() {
    setsid sh -c '{ echo 0 >/proc/self/oom_score_adj; } 2>/dev/null; echo "$$ $1 $2" 1<>$3; _vt_c=$5; eval "set --; $4"; eval "$_vt_c"' \
      sh $_vt_n $_vt_p $_vt_k/pid "$_vt_set" "$_vt_c" >&4 2>&5 3<&- 4>&- 5>&-
    _vt_end $?
  }
fi

_vt_open() {
  exec 4>$_vt_k/o$_vt_p 5>$_vt_k/e$_vt_p
}

_vt_ready() {
  printf '\036%s R\n' $_vt_n >&4
  printf '\036%s R\n' $_vt_n >&5
}

# pipe nonce [status]: with a status, the worker before this one was killed by the command it ran.
_vt_work() {
  _vt_p=$1 _vt_n=$2 _vt_boss=$PPID
  echo $$ 1<>$_vt_k/work
  cd "$HOME" || cd /
  _vt_open
  [ -z "$3" ] || _vt_end $3
  _vt_ready
  set --
  while :; do
    _vt_fork
    _vt_e=$?
    read -r _vt_g _vt_n _vt_x _vt_m _vt_l _vt_s <$_vt_k/pid && read -r _vt_x _vt_a <$_vt_k/fork
    # A process that was killed before it was given a command.
    [ -n "$_vt_g" ] && [ "$_vt_g" = "$_vt_x" ] || {
      _vt_mine || exit 0
      continue
    }
    case $_vt_m in
    -) _vt_end $_vt_e $_vt_l ;;
    r) _vt_ready; continue ;;
    *)
      # What passes the input on belongs to the lane, not to the command.
      set +m
      _vt_lines
      [ $_vt_s = 0 ] || _vt_spool $_vt_s
      _vt_clean=
      _vt_up || _vt_c="printf '\\036%s %s\\n' $_vt_n $_vt_x >&2; exit 125"
      case $_vt_m in
      n) _vt_run </dev/null ;;
      b) IFS= read -r _vt_x <&3; printf %b "$_vt_x" | _vt_run ;;
      s) _vt_feed | _vt_run ;;
      esac ;;
    esac
    [ -z "$_vt_clean" ] || continue
    exec 4>&- 5>&-
    if [ $_vt_p = a ]; then _vt_p=b; else _vt_p=a; fi
    _vt_open
    _vt_ready
  done
}

_vt_oom -1000
# A worker needs nothing of the rest, which it would have to read.
if [ "$3" = work ]; then
  _vt_d=$1 _vt_k=$1/$2
  shift 3
  _vt_work "$@"
  exit 1
fi

# o or e. A new cat every 32 commands, so that its words do not fill the screen of whoever runs ps.
_vt_pump() {
  while :; do
    LC_ALL=C cat $1a $1b $1a $1b $1a $1b $1a $1b $1a $1b $1a $1b $1a $1b $1a $1b \
      $1a $1b $1a $1b $1a $1b $1a $1b $1a $1b $1a $1b $1a $1b $1a $1b
  done
}

# nonce pid: fd 3, 6 and 7 are the lane's input, output and errors.
_vt_supervise() {
  cd $_vt_k
  echo $2 1<>$_vt_k.lane
  _vt_pump o >&6 3<&- 6>&- 7>&- &
  _vt_pump e >&7 3<&- 6>&- 7>&- &
  _vt_n=$1 _vt_p=a _vt_s=
  while :; do
    # By its name alone, which bash says before each of a command's errors: bash: line 1: nc: command not found
    (
      cd $_vt_d
      exec $_vt_shell bash $_vt_d $_vt_lane work $_vt_p $_vt_n $_vt_s 6>&- 7>&-
    )
    _vt_s=$?
    read -r _vt_g _vt_n _vt_x <pid
    read -r _vt_x _vt_p <fork && [ -n "$_vt_p" ] || exit 1
    kill -KILL -- -$_vt_g -$_vt_x
    if [ $_vt_p = a ]; then _vt_p=b; else _vt_p=a; fi
  done
}

# What the bootstrap shell is told.

# Finds the device of every port: _vt_port_3 for vmtest.3.
_vt_ports() {
  cd /sys/class/virtio-ports && for _vt_x in *; do
    IFS=. read -r _vt_a _vt_b <$_vt_x/name && [ "$_vt_a" = vmtest ] && eval "_vt_port_$_vt_b=/dev/$_vt_x"
  done
  cd "$HOME" || cd /
} 2>/dev/null

# lanes: makes what they write to, with as few processes for all of them as for one: a pipe that was used may still be written to, and is
# made anew
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

# lane nonce port: vsock ports of the host, from this one on. No shell can open a socket; perl-base is in every Debian.
_vt_dial() {
  (
    _vt_prepare $1
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

if [ $# -gt 0 ]; then
  _vt_d=$1 _vt_lane=$2 _vt_k=$1/$2
  _vt_supervise $4 $$
fi
`)

/** The part of the agent that a lane runs: its worker, its pumps and its supervisor. `agent.ts` describes what they do. */

export const worker = String.raw`
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
  if [ ! -d /run/systemd/system ]; then
    # Process 1 of a tiny guest makes the file when it takes the signal of who told it to reboot, and may have to wait for a processor first. It
    # sleeps otherwise.
    _vt_t=0
    while [ $_vt_t -lt 100 ] && [ -e /lib/vmtest/shell ] && read -r _vt_u </proc/1/stat; do
      case $_vt_u in *') R '*) ;; *) break ;; esac
      sleep 0.02
      _vt_t=$((_vt_t + 1))
    done
    [ -e /run/vmtest-down ]
    return
  fi
  read -r _vt_t _vt_u </proc/1/schedstat && read -r _vt_u <$_vt_d/reboots || return 1
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

# Ends a lane whose connections are over for good, because they are sockets: all that reads and writes them is one process group. A port of virtio is
# opened again by the host, so there the lane waits.
_vt_leave() {
  [ ! -S /proc/self/fd/3 ] || {
    kill -KILL -- -$_vt_boss
    exit 0
  }
}

# pid: what a process that was made beforehand does. A command with no input it becomes; the rest it leaves to the worker.
# It says that it is there before it looks whether it should: so _vt_stop finds it, or it finds that the lane was stopped.
_vt_await() {
  _vt_oom 0
  echo "$1 $_vt_p" 1<>$_vt_k/fork
  _vt_mine || exit 0
  while :; do
    until IFS=' ' read -r _vt_n _vt_m _vt_l _vt_s <&3; do
      _vt_leave
      sleep 0.2 || sleep 1
    done
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
`

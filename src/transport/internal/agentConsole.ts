/**
 * What a guest is given besides the agent when it has nothing but a console: the file `console`. See `consoleLane.ts`.
 *
 * What it says is never the bytes themselves: a line of them could be the one that a bootstrap shell starts with.
 */
export const agentConsole = String.raw`
# lane nonce: for a guest with nothing but a console, which is fd 8 of the movers and the feeder.
_vt_console() {
  _vt_k=$_vt_d/$1
  [ -e $_vt_k ] && true >$_vt_k/out.at && true >$_vt_k/err.at && true >$_vt_k/in.at && true >$_vt_k/given
  stty raw -echo
  (
    _vt_prepare $1
    cd $_vt_k
    rm -f in feed out err out.go err.go
    mkfifo in feed out err out.go err.go
    exec setsid $_vt_shell $_vt_d/console $_vt_d $1 $2
  ) 8>&1 </dev/null >/dev/null 2>&1 &
  echo $! 1<>$_vt_d/$1.lane
} 2>/dev/null

# nonce: a lane on the console
_vt_serve() {
  cd $_vt_k
  # Open before anything is written to it.
  exec 9<>feed
  _vt_move out $1 &
  _vt_move err $1 &
  _vt_take $1 &
  exec 8>&- 9<&- 3<>in 6>out 7>err
  _vt_supervise $1 $$
}

# out|err nonce: sends what a stream has, piece by piece; each one again until the host confirms it. A piece below 1 KiB goes
# at once, and twice; a larger one is announced, and sent with its MD5 sum when the host asks for it.
_vt_move() {
  exec <$1 9<>$1.go 3<&- 6>&- 7>&-
  _vt_i=0
  while LC_ALL=C dd ibs=65536 obs=1024 count=1 of=$1.c 2>$1.r; do
    { read -r _vt_x; read -r _vt_s _vt_x; } <$1.r
    [ "$_vt_s" != 0+0 ] || exit
    _vt_i=$((_vt_i + 1)) _vt_x=
    case $_vt_s in
    0+*)
      base64 -w 0 $1.c >$1.b || break
      read -r _vt_x <$1.b ;;
    esac
    echo $_vt_i >$1.at
    echo "_vt_$2 $1 $_vt_i $_vt_x $_vt_x" >&8 || break
    while read -r _vt_a _vt_b <&9; do
      [ "$_vt_a" = $_vt_i ] || continue
      case $_vt_b in
      ok) continue 2 ;;
      again) echo "_vt_$2 $1 $_vt_i $_vt_x $_vt_x" >&8 || break ;;
      *)
        # Each line at once, since other lanes say theirs at any time.
        md5sum <$1.c >$1.m
        read -r _vt_q _vt_r <$1.m
        printf '\n_vt_%s begin\n' $2 >&8
        base64 -w 0 $1.c >&8
        printf '\n_vt_%s end %s %s\n' $2 $_vt_b $_vt_q >&8 ;;
      esac
    done
    break
  done
  echo lost >$1.at
}

# nonce: gives the worker its input, which may take its time
_vt_take() {
  exec <&9 1<>in 9<&-
  while read -r _vt_i _vt_x; do
    if [ -n "$_vt_x" ]; then printf %b "$_vt_x"; else cat give; fi
    echo $_vt_i >in.at
    echo "_vt_$1 took $_vt_i" >&8
  done
}

# lane: the last piece of each stream, and of the input
_vt_at() {
  _vt_a= _vt_b= _vt_x=
  read -r _vt_a <$_vt_d/$1/out.at
  read -r _vt_b <$_vt_d/$1/err.at
  read -r _vt_x <$_vt_d/$1/in.at
  _vt_answer="$_vt_a:$_vt_b:$_vt_x"
} 2>/dev/null

# lane id length text: a short input, as printf %b takes it. What was given once is not given again.
_vt_put() {
  _vt_x= _vt_answer=$2
  read -r _vt_x <$_vt_d/$1/given
  [ "$_vt_x" != $2 ] || return 0
  [ ${"$"}{#4} = $3 ] && echo $2 >$_vt_d/$1/given && printf '%s %s\n' $2 "$4" 1<>$_vt_d/$1/feed || _vt_answer=
} 2>/dev/null

# lane id md5 base64: the same for any input
_vt_give() {
  _vt_x= _vt_answer=$2
  read -r _vt_x <$_vt_d/$1/given
  [ "$_vt_x" != $2 ] || return 0
  printf %s "$4" | base64 -d >$_vt_d/$1/give
  md5sum <$_vt_d/$1/give >$_vt_d/$1/sum
  read -r _vt_x _vt_a <$_vt_d/$1/sum
  [ "$_vt_x" = $3 ] && echo $2 >$_vt_d/$1/given && echo $2 1<>$_vt_d/$1/feed || _vt_answer=
} 2>/dev/null

if [ $# -gt 0 ]; then
  _vt_d=$1 _vt_lane=$2 _vt_k=$1/$2 _vt_n=$3
  set --
  . $_vt_d/bash
  _vt_serve $_vt_n
fi
`

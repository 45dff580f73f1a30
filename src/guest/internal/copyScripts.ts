/** Shell scripts that receive and send copies in a guest. */
import { quote } from "../../host/Quote.ts"
import { path } from "../File.ts"

/** The properties of a single file besides its bytes. */
export interface FileHead {
  readonly name: string
  /** Permissions, 0 to 0o7777. */
  readonly mode: number
  /** Seconds since 1970. */
  readonly modified: number
  /** Its name in the archive, if it is sent as one. */
  readonly member?: string | undefined
}

/** Succeeds if the guest's tar can read and write holes. */
export const hasGnuTar = 'case "$(tar --version 2>/dev/null)" in *GNU*) ;; *) exit 1 ;; esac'

/**
 * A single file is received beside its target and moved there, so that nobody sees half of it. It is sent as bytes, because `cat` ends when it
 * cannot write, while `tar` reads on to the end of the file; only a file with holes is sent as an archive. A link to a file is followed, as `cp`
 * does; a link to a device, which is how systemd masks a unit, is not.
 */
export const receiveFile = ({ member, mode, modified, name }: FileHead, target: string) => `t=${path(target)}
case "$t" in */) d=1 ;; *) [ -d "$t" ] && d=1 || d= ;; esac
[ -z "$d" ] || t="\${t%/}/"${quote(name)}
if [ -L "$t" ] && { [ -f "$t" ] || [ ! -e "$t" ]; } && r=$(readlink -f -- "$t" && echo .); then
  d=\${r%??}
  [ ! -d "\${d%/*}/" ] || t=$d
fi
case "$t" in */*) d=\${t%/*}/ ;; *) d=./ ;; esac
mkdir -p -- "$d"
tmp="$d.vmtest-copy-$$"
trap 'rm -rf -- "$tmp"' EXIT
trap 'exit 143' HUP INT TERM
mkdir -m 0700 -- "$tmp"
receive() {
  ${member === undefined ? `cat > "$tmp/file"` : `mkdir "$tmp/tar" && tar -xf - -C "$tmp/tar" && mv -f -- "$tmp/tar/"${quote(member)} "$tmp/file"`}
}
if receive && chmod ${mode.toString(8).padStart(4, "0")} "$tmp/file" && touch -d @${modified} "$tmp/file" &&
  mv -f -- "$tmp/file" "$t"; then :; else exit 1; fi`

/**
 * A tree is merged into the target: an existing folder keeps its mode, and a link to one stays a link. GNU tar needs options for both;
 * busybox's tar keeps links, and the script restores the mode of the target at least.
 */
export const receiveTree = (target: string, mode: number) => `t=${path(target)}
if [ -d "$t" ]; then m=$(stat -c %a -- "$t"); else m=${mode.toString(8).padStart(4, "0")}; fi
mkdir -p -- "$t"
case "$(tar --version 2>/dev/null)" in *GNU*) o='--no-overwrite-dir --keep-directory-symlink' ;; *) o= ;; esac
tar -xpf - -C "$t" $o && code=0 || code=$?
[ -z "$m" ] || chmod "$m" "$t"
exit $code`

/** Prints why nothing more can be written to a folder: tar does not, after it wrote a part of a block. */
export const whyFull = (target: string) => `t=${path(target)}
[ -d "$t" ] || t=$(dirname -- "$t")
cd -- "$t"
trap 'rm -f -- ".vmtest-copy-$$"' EXIT
head -c 65536 /dev/zero > ".vmtest-copy-$$"`

/**
 * A tree is sent under its real name; the host knows which name it asked for. Files of the kernel do not have the size that they report and
 * tar relies on, so they are copied first. Holes stay holes if the guest's tar can find them.
 */
export const send = (source: string) => `p=${path(source.replace(/(?<=[^/])\/+$/, ""))}
[ -e "$p" ] || {
  if [ -L "$p" ]; then echo "it is a symbolic link to a file that does not exist"; else echo "no such file"; fi >&2
  exit 1
}
case "$p" in */*) cd -- "\${p%/*}/" ;; esac
n=./\${p##*/}
r=$(readlink -f -- "$n"; echo .)
r=\${r%??}
[ "$r" != / ] || { echo "$p is the whole file system" >&2; exit 1; }
case "$r" in /proc/*|/sys/*)
  d=$(mktemp -d)
  trap 'rm -rf -- "$d"' EXIT
  trap 'exit 143' HUP INT TERM
  # By the given name: below /proc/self it leads each program elsewhere.
  cp -R -H -- "$n" "$d/"
  r="$d/\${n##*/}" ;;
esac
case "$(tar --version 2>/dev/null)" in *GNU*) s=--sparse ;; *) s= ;; esac
tar -C "\${r%/*}/" $s -cf - "./\${r##*/}"`

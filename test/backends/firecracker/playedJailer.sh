#!/bin/sh
# A jailer without a jail: it makes the same folders and files, keeps its arguments in `jailer.args`, and runs Firecracker in the jail's root folder.
[ "$1" = --version ] && { echo "Jailer v${VMTEST_PLAYED_JAILER:-1.16.1}"; exit 0; }
arguments=$*
while [ "$1" != -- ]; do
  case $1 in
    --id) id=$2 ;;
    --exec-file) program=$2 ;;
    --chroot-base-dir) base=$2 ;;
    --uid | --gid) ;;
    *) echo "Failed to parse arguments: Found argument '$1' which wasn't expected, or isn't valid in this context." >&2; exit 1 ;;
  esac
  shift 2
done
shift
name=${program##*/}
root=$base/$name/$id/root
cp "$program" "$root/$name"
cd "$root" || exit 1
if [ -e dev ]; then
  echo "Failed to create /dev/net/tun via mknod inside the jail: File exists (os error 17)" >&2
  exit 1
fi
mkdir -p dev/net run
echo $$ >"$name.pid"
echo "$arguments" >jailer.args
exec "./$name" --id "$id" "$@"

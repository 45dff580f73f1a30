# What nixpkgs' stdenv gives to builds, as far as it is used.
set -euo pipefail

runHook() { :; }

runBuild() {
  if [ -n "${buildCommand-}" ]; then
    eval "$buildCommand"
    return
  fi
  cp -r "$src" source
  chmod -R u+w source
  cd source
  PATH=$(printf '%s/bin:' $nativeBuildInputs)$PATH
  eval "$buildPhase"
  eval "$installPhase"
}

# makeWrapper PROGRAM FILE [--add-flags FLAGS] [--set NAME VALUE] [--run COMMAND] [--prefix NAME SEPARATOR VALUE]…
makeWrapper() {
  local program=$1 file=$2 flags=
  shift 2
  echo '#!/bin/bash' >"$file"
  while [ $# -gt 0 ]; do
    case $1 in
    --add-flags) flags+=" $2" && shift 2 ;;
    --set) printf 'export %s=%q\n' "$2" "$3" >>"$file" && shift 3 ;;
    --prefix) printf 'export %s=%s${%s:+%s$%s}\n' "$2" "$4" "$2" "$3" "$2" >>"$file" && shift 4 ;;
    --run) printf '%s\n' "$2" >>"$file" && shift 2 ;;
    *) echo "makeWrapper: $1 is not known" >&2 && exit 1 ;;
    esac
  done
  echo "exec \"$program\"$flags \"\$@\"" >>"$file"
  chmod +x "$file"
}

wrapProgram() {
  local file=$1
  local hidden="${file%/*}/.${file##*/}-wrapped"
  shift
  mv "$file" "$hidden"
  makeWrapper "$hidden" "$file" "$@"
}

# In place of mypy: the types are found where what is built on depends on them, and the script is Python.
typeCheck() {
  local input found=
  for input in $buildInputs $(cat $(printf '%s/nix-support/propagated-build-inputs ' $buildInputs) 2>/dev/null); do
    if [ -d "$input/site-packages" ]; then found+="$input/site-packages:"; fi
  done
  PYTHONPATH=$found /usr/bin/python3 -c 'import ast, sys, test_driver; ast.parse(open(sys.argv[1]).read())' "$1"
}

# In place of pyflakes.
lint() {
  grep -q start_all "$2"
  /usr/bin/python3 -c 'import ast, sys; ast.parse(open(sys.argv[1]).read())' "$1"
}

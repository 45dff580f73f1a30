# vmtest in the place of the NixOS test driver.
#
# nixpkgs calls `.override` on the driver, type-checks scripts against its Python package, runs its
# `generate-driver-symbols`, and runs `bin/nixos-test-driver`. The last of these is ours. All else is the original's,
# which is propagated.
{
  lib,
  makeWrapper,
  python3,
  runCommand,
  vmtest,
  qemu_test,
  # The driver of nixpkgs, and whether tests take it from the package set.
  original,
  isFromSet,
  # What nixpkgs gives: revisions add and drop arguments, so others are passed on as they come.
  qemu_pkg ? qemu_test,
  enableOCR ? false,
  extraPythonPackages ? (_: [ ]),
  ...
}@args:
let
  theirs = original.override (
    removeAttrs args [
      "lib"
      "makeWrapper"
      "python3"
      "runCommand"
      "vmtest"
      "qemu_test"
      "original"
      "isFromSet"
    ]
  );

  # What a script of theirs can import and run: what the driver itself does.
  inputs = theirs.propagatedBuildInputs or [ ];
  python = python3.withPackages (
    packages: extraPythonPackages packages ++ builtins.filter (input: input ? pythonModule) inputs
  );
  path = [
    python
    qemu_pkg
  ]
  ++ inputs
  ++ vmtest.tools;
in
runCommand "nixos-test-driver-vmtest-${vmtest.version}"
  {
    nativeBuildInputs = [ makeWrapper ];
    passthru = {
      inherit vmtest python isFromSet;
      original = theirs;
      inherit (vmtest) version;
    };
    meta = {
      description = "The driver of NixOS tests, as vmtest";
      mainProgram = "nixos-test-driver";
    };
  }
  ''
    mkdir -p $out/bin $out/nix-support
    for package in ${vmtest} ${theirs}; do
      if [ -e "$package/bin/generate-driver-symbols" ]; then
        ln -sf "$package/bin/generate-driver-symbols" $out/bin/
      fi
    done
    makeWrapper ${vmtest.nodejs}/bin/node $out/bin/nixos-test-driver \
      --add-flags ${vmtest}/lib/node_modules/vmtest/bin/nixos-test-driver.js \
      --prefix PATH : ${lib.makeBinPath path} \
      ${vmtest.cacheInBuilds}
    echo ${theirs} >$out/nix-support/propagated-build-inputs
  ''

# Where the driver of nixpkgs is. This one refuses to run a test, and takes no argument that the real one does not know.
{
  runCommand,
  qemu_test,
  qemu_pkg ? qemu_test,
  enableNspawn ? false,
  enableOCR ? false,
  extraPythonPackages ? (_: [ ]),
}:
runCommand "nixos-test-driver" { passthru.propagatedBuildInputs = [ qemu_pkg ]; } ''
  mkdir -p $out/bin $out/site-packages/test_driver
  printf '#!/bin/bash\necho "the original driver"\nexit 1\n' >$out/bin/nixos-test-driver
  printf '#!/bin/bash\nprintf start_all,subtest >driver-symbols\n' >$out/bin/generate-driver-symbols
  chmod +x $out/bin/*
  touch $out/site-packages/test_driver/__init__.py
''

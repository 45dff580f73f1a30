# How a test got its driver in 25.05 and 25.11: from a path of nixpkgs, with all it needs in the environment.
{ config, lib, hostPkgs, ... }:
let
  testDriver = hostPkgs.python3Packages.callPackage ./nixos/lib/test-driver {
    inherit (config) enableOCR extraPythonPackages;
    qemu_pkg = config.qemu.package;
  };
  vms = map hostPkgs.guest (builtins.attrNames config.nodes);
in
{
  config.driver =
    hostPkgs.runCommand "nixos-test-driver-${config.name}"
      {
        nativeBuildInputs = [ hostPkgs.makeWrapper ];
        buildInputs = [ testDriver ];
        inherit (config) testScript;
        passthru = config.passthru;
      }
      ''
        mkdir -p $out/bin
        vmStartScripts=($(for i in ${toString vms}; do echo $i/bin/run-*-vm; done))
        printf %s "$testScript" >$out/test-script
        ${lib.optionalString (!config.skipTypeCheck) "typeCheck $out/test-script"}
        ln -s ${testDriver}/bin/nixos-test-driver $out/bin/nixos-test-driver
        ${testDriver}/bin/generate-driver-symbols
        ${lib.optionalString (!config.skipLint) "lint $out/test-script driver-symbols"}
        wrapProgram $out/bin/nixos-test-driver \
          --set startScripts "''${vmStartScripts[*]}" \
          --set testScript "$out/test-script" \
          --set globalTimeout "${toString config.globalTimeout}" \
          --set vlans '1' \
          ${lib.escapeShellArgs (
            builtins.concatMap (arg: [
              "--add-flags"
              arg
            ]) config.extraDriverArgs
          )}
      '';
}

# For releases whose tests make their driver from a path of nixpkgs: takes the test's driver, checked, linted and wrapped
# as it is, and swaps the program in it.
{ config, lib, hostPkgs, ... }:
{
  options.driver = lib.mkOption {
    apply =
      driver:
      let
        ours = hostPkgs.nixos-test-driver.override {
          inherit (config) enableOCR extraPythonPackages;
          qemu_pkg = config.qemu.package;
        };
      in
      hostPkgs.runCommand driver.name
        {
          passthru = driver.passthru or { } // { original = driver; };
          meta.mainProgram = "nixos-test-driver";
        }
        ''
          mkdir -p $out/bin
          for file in ${driver}/*; do
            [ "$file" = ${driver}/bin ] || ln -s "$file" $out/
          done
          # The wrapper runs the program beside it.
          sed "s|${driver}/bin|$out/bin|g" ${driver}/bin/nixos-test-driver >$out/bin/nixos-test-driver
          chmod +x $out/bin/nixos-test-driver
          ln -s ${ours}/bin/nixos-test-driver $out/bin/.nixos-test-driver-wrapped
        '';
  };
}

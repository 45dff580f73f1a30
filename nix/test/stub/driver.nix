# How a test gets its driver since spring 2026: from the package set, with a configuration file.
{ config, lib, hostPkgs, ... }:
let
  testDriver = config.pythonTestDriverPackage.override {
    inherit (config) enableOCR extraPythonPackages;
    qemu_pkg = config.qemu.package;
    enableNspawn = config.containers != { };
  };
  script = hostPkgs.writeText "test-script" config.testScript;
  configuration = hostPkgs.writers.writeJSON "driverConfiguration.json" {
    vms = builtins.mapAttrs (name: _: {
      inherit name;
      start_script = "${hostPkgs.guest name}/bin/run-${name}-vm";
    }) config.nodes;
    containers = { };
    vlans = [ 1 ];
    global_timeout = config.globalTimeout;
    enable_ssh_backdoor = false;
    test_script = "${script}";
  };
in
{
  options.pythonTestDriverPackage = lib.mkOption {
    default = hostPkgs.nixos-test-driver;
    readOnly = true;
  };

  config.driver =
    hostPkgs.runCommand "nixos-test-driver-${config.name}"
      {
        nativeBuildInputs = [ hostPkgs.makeWrapper ];
        buildInputs = [ testDriver ];
        passthru = config.passthru;
      }
      ''
        mkdir -p $out/bin
        ${lib.optionalString (!config.skipTypeCheck) "typeCheck ${script}"}
        cp ${script} $out/test-script
        ln -s ${testDriver}/bin/nixos-test-driver $out/bin/nixos-test-driver
        ${testDriver}/bin/generate-driver-symbols
        ${lib.optionalString (!config.skipLint) "lint $out/test-script driver-symbols"}
        wrapProgram $out/bin/nixos-test-driver \
          --add-flags "--config ${configuration}" \
          --add-flags "--log-level ${config.logLevel}" \
          ${lib.escapeShellArgs (
            builtins.concatMap (arg: [
              "--add-flags"
              arg
            ]) config.extraDriverArgs
          )}
      '';
}

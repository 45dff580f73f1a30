# Options of NixOS tests, under their names.
{ config, lib, hostPkgs, ... }:
let
  option = default: lib.mkOption { inherit default; };
in
{
  options = {
    name = lib.mkOption { };
    hostPkgs = lib.mkOption { };
    testScript = lib.mkOption { };
    nodes = option { };
    enableOCR = option false;
    extraPythonPackages = option (_: [ ]);
    extraDriverArgs = option [ ];
    skipLint = option false;
    skipTypeCheck = option false;
    globalTimeout = option 3600;
    qemu = option { package = hostPkgs.qemu_test; };
    containers = option { };
    logLevel = option "info";
    meta = option { };
    passthru = option { };
    driver = lib.mkOption { };
    test = lib.mkOption { };
  };

  config = {
    _module.args.hostPkgs = config.hostPkgs;

    test = hostPkgs.stdenv.mkDerivation {
      name = "vm-test-run-${config.name}";
      requiredSystemFeatures = [
        "nixos-test"
        "kvm"
      ];
      buildCommand = ''
        mkdir -p $out
        export LOGFILE=/dev/null
        ${config.driver}/bin/nixos-test-driver -o $out
      '';
      passthru = config.passthru // { inherit (config) driver; };
    };
  };
}

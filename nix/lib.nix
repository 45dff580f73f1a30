# What tests of NixOS use of this flake.
{ overlay }:
{
  # `runTest pkgs module`: a NixOS test that vmtest runs, from any nixpkgs since 25.05. The module is what
  # `pkgs.testers.runNixOSTest` takes, and the result is what it gives.
  runTest =
    pkgs: module:
    let
      hostPkgs = if pkgs ? nixos-test-driver.vmtest then pkgs else pkgs.extend overlay;
    in
    hostPkgs.testers.runNixOSTest {
      imports = [
        module
      ]
      # There the driver is no package of the set that the overlay could replace.
      ++ (if hostPkgs.nixos-test-driver.isFromSet then [ ] else [ ./old-driver.nix ]);
    };

  # A module for a test whose script is in TypeScript: `imports = [ (typescript ./web.ts) ]`, or the script as a string.
  typescript = script: {
    testScript = if builtins.isPath script then builtins.readFile script else script;
    extraDriverArgs = [ "--language=typescript" ];
    # Both are for Python.
    skipLint = true;
    skipTypeCheck = true;
  };
}

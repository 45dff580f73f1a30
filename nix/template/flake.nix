{
  description = "NixOS tests that vmtest runs";

  inputs = {
    # Where vmtest is: `nix registry add vmtest URL` says it for all projects. Or write the URL here.
    vmtest.url = "flake:vmtest";
    nixpkgs.follows = "vmtest/nixpkgs";
  };

  outputs =
    { nixpkgs, vmtest, ... }:
    let
      pkgs = nixpkgs.legacyPackages.x86_64-linux;
    in
    {
      checks.x86_64-linux = {
        python = vmtest.lib.runTest pkgs {
          name = "python";
          nodes.machine = { };
          testScript = builtins.readFile ./tests/hello.py;
        };

        typescript = vmtest.lib.runTest pkgs {
          name = "typescript";
          nodes.machine = { };
          imports = [ (vmtest.lib.typescript ./tests/hello.ts) ];
        };
      };
    };
}

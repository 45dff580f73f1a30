{
  description = "Integration tests on real virtual machines, in TypeScript and for test scripts of the NixOS test driver";

  # The package `nixos-test-driver`, which the overlay replaces, exists since spring 2026. docs/nixos.md has what to do with older releases.
  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;
      forEachSystem =
        f:
        lib.genAttrs [ "x86_64-linux" ] (system: f (nixpkgs.legacyPackages.${system}.extend self.overlays.default));
      app = pkgs: name: description: {
        type = "app";
        program = "${pkgs.vmtest}/bin/${name}";
        meta = { inherit description; };
      };
    in
    {
      overlays.default = import ./nix/overlay.nix;

      lib = import ./nix/lib.nix { overlay = self.overlays.default; };

      packages = forEachSystem (pkgs: {
        inherit (pkgs) vmtest nixos-test-driver;
        default = pkgs.vmtest;
      });

      checks = forEachSystem (pkgs: import ./nix/checks.nix { inherit pkgs; inherit (self.lib) runTest typescript; });

      apps = forEachSystem (pkgs: {
        default = app pkgs "vmtest" "Run tests on virtual machines";
        vmtest = app pkgs "vmtest" "Run tests on virtual machines";
        nixos-test-driver = app pkgs "nixos-test-driver" "Run a test of a NixOS configuration";
      });

      devShells = forEachSystem (pkgs: {
        default = pkgs.mkShell { packages = pkgs.vmtest.tools ++ [ pkgs.vmtest.nodejs ]; };
      });

      templates.default = {
        path = ./nix/template;
        description = "NixOS tests on vmtest: one in TypeScript, one in Python";
        welcomeText = ''
          Run the tests with `nix flake check -L`, or one of them with
          `nix build -L .#checks.x86_64-linux.typescript`.
        '';
      };
    };
}

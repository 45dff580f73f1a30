{
  description = "A stand-in for nixpkgs, which the flake is tested with: just what it uses, made of the host's programs";

  outputs = { self }: {
    lib = import ./lib-or-real.nix;
    legacyPackages.x86_64-linux = import ./pkgs.nix { lib = self.lib; };
  };
}

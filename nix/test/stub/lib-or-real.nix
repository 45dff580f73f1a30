# The lib of nixpkgs where a test put it beside this file, else the few functions that are used.
if builtins.pathExists ./lib/default.nix then import ./lib else import ./lib.nix

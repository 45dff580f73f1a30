# Adds `vmtest`, and replaces the driver of NixOS tests: apply it to the package set that tests run on (`hostPkgs`).
final: prev:
let
  # Until spring 2026 the driver was not in the package set; lib.nix has how tests of these releases get ours.
  place = prev.path + "/nixos/lib/test-driver";
  ofPlace =
    if builtins.functionArgs (import place) ? python3Packages then
      prev.callPackage place { }
    else
      prev.python3Packages.callPackage place { };
in
{
  vmtest = final.callPackage ./package.nix { };

  nixos-test-driver = final.callPackage ./driver.nix {
    original = prev.nixos-test-driver or ofPlace;
    isFromSet = prev ? nixos-test-driver;
  };
}

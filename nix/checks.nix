# What `nix flake check` builds: the command runs, and one guest for each language of a script.
{
  pkgs,
  runTest,
  typescript,
}:
{
  package = pkgs.runCommand "vmtest-runs" { } ''
    ${pkgs.vmtest}/bin/vmtest --version >$out
    ${pkgs.vmtest}/bin/vmtest --help >>$out
    grep -F 'v${pkgs.vmtest.version}' $out
  '';

  python = runTest pkgs {
    name = "vmtest-python";
    nodes.machine = { };
    testScript = builtins.readFile ./template/tests/hello.py;
  };

  typescript = runTest pkgs {
    name = "vmtest-typescript";
    nodes.machine = { };
    imports = [ (typescript ./template/tests/hello.ts) ];
  };
}

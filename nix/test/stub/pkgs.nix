# The packages that are used. Programs are the host's; host.json, which a test writes beside this file, says where the rest is.
{ lib }:
let
  system = "x86_64-linux";

  host = {
    # Folders: one with bin/node, one with node_modules, one with the kernel and initrd of a guest.
    nodejs = "/usr";
    modules = "/nowhere";
    guest = "/nowhere";
    # The command line of the guest's kernel.
    cmdline = "";
    # The npm and the registry that packages come from. Without a registry they come from `modules`, unchecked.
    npm = "/usr/bin/npm";
    registry = "";
    # Whom to trust there, instead of npm's own list.
    cafile = "";
    # Whether the driver of NixOS tests is a package of the set, as it is since spring 2026.
    hasDriver = true;
  }
  // (if builtins.pathExists ./host.json then lib.importJSON ./host.json else { });

  makeOverridable =
    f: args: f args // { override = more: makeOverridable f (args // more); };

  mkDerivation =
    attrs:
    let
      forBuilder = removeAttrs attrs [
        "meta"
        "passthru"
      ];
      made = derivation (
        {
          inherit system;
          name = attrs.name or "${attrs.pname}-${attrs.version}";
          builder = "/bin/bash";
          args = [
            "-c"
            # A build whose last command is not one of the shell's own ends by signal 9 now and then, on Nix 2.8 without a sandbox.
            "source ${./setup.sh}; runBuild; exit 0"
          ];
          PATH = "${hostPrograms "stdenv" stdenvPrograms}/bin";
        }
        // forBuilder
      );
    in
    made // (attrs.passthru or { }) // { meta = attrs.meta or { }; passthru = attrs.passthru or { }; };

  # Programs of the host in a folder of their own: what a build finds is what it asks for, as with nixpkgs.
  hostPrograms =
    name: programs:
    mkDerivation {
      inherit name programs;
      PATH = "/usr/sbin:/usr/bin:/sbin:/bin";
      buildCommand = ''
        mkdir -p $out/bin
        for program in $programs; do
          if path=$(command -v "$program"); then ln -s "$(readlink -f "$path")" "$out/bin/$program"; fi
        done
      '';
    };

  coreutils = [ "basename" "cat" "chmod" "cp" "cut" "date" "dd" "dirname" "env" "head" "id" "ln" "ls" "mkdir" "mkfifo" "mktemp" "mv" "nproc" ]
    ++ [ "readlink" "realpath" "rm" "sleep" "sort" "stat" "stty" "tail" "tee" "touch" "tr" "true" "uname" "wc" ];
  stdenvPrograms = coreutils ++ [ "bash" "sh" "find" "xargs" "diff" "sed" "grep" "awk" "tar" "gzip" "xz" ];

  # What is no program, or is a function of setup.sh.
  nothing = hostPrograms "nothing" [ ];

  packages =
    self:
    let
      callPackage =
        f: args:
        let
          function = if builtins.isPath f then import f else f;
        in
        makeOverridable function (builtins.intersectAttrs (builtins.functionArgs function) self // args);
      runCommand =
        name: attrs: buildCommand:
        mkDerivation (attrs // { inherit name buildCommand; });
    in
    {
      inherit lib callPackage runCommand;
      path = ./.;
      runtimeShell = "/bin/bash";
      stdenv = { inherit mkDerivation; hostPlatform = { inherit system; isLinux = true; isDarwin = false; }; };
      stdenvNoCC = self.stdenv;
      mkShell = attrs: runCommand "shell" attrs "touch $out";
      makeWrapper = nothing;
      mypy = nothing;
      bash = hostPrograms "bash" [ "bash" "sh" ];
      coreutils = hostPrograms "coreutils" coreutils;
      ffmpeg-headless = hostPrograms "ffmpeg" [ "ffmpeg" ];
      gnutar = hostPrograms "tar" [ "tar" ];
      perl = hostPrograms "perl" [ "perl" ];
      qemu_kvm = hostPrograms "qemu" [ "qemu-system-x86_64" "qemu-img" ];
      qemu_test = self.qemu_kvm;
      swtpm = hostPrograms "swtpm" [ "swtpm" "swtpm_setup" ];
      tesseract5 = makeOverridable (_: hostPrograms "tesseract" [ "tesseract" ]) { };
      util-linux = hostPrograms "util-linux" [ "flock" "setpriv" "setsid" "unshare" ];
      vde2 = hostPrograms "vde2" [ "vde_switch" "vde_plug" "wirefilter" ];

      nodejs = { outPath = host.nodejs; version = "24.0.0"; };
      nodejs_24 = self.nodejs;

      python3 = hostPrograms "python" [ "python3" ] // {
        pkgs = self.python3Packages;
        withPackages =
          f:
          runCommand "python-with-packages" { modules = map toString (f self.python3Packages); } ''
            version=$(/usr/bin/python3 -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
            mkdir -p $out/bin $out/lib/$version/site-packages
            ln -s /usr/bin/python3 $out/bin/python3
            printf 'home = /usr/bin\ninclude-system-site-packages = true\n' >$out/pyvenv.cfg
            for module in $modules; do cp -r $module/site-packages/* $out/lib/$version/site-packages; done
          '';
      };
      python3Packages = {
        inherit callPackage;
        greeting = runCommand "greeting" { passthru.pythonModule = true; } ''
          mkdir -p $out/site-packages
          echo 'hello = "hello from a package"' >$out/site-packages/greeting.py
        '';
      };

      writeText = name: text: runCommand name { inherit text; } ''printf %s "$text" >$out'';
      writers.writeJSON = name: value: self.writeText name (builtins.toJSON value);

      fetchurl =
        { url, hash }:
        let
          parts = builtins.match "https://[^/]*/(.*)/-/.*-([0-9]+[.][0-9]+[.][0-9]+.*)[.]tgz" url;
          name = builtins.elemAt parts 0;
          version = builtins.elemAt parts 1;
        in
        if host.registry != "" then
          runCommand (baseNameOf url)
            {
              outputHash = hash;
              outputHashMode = "flat";
            }
            ''
              export HOME=$PWD npm_config_registry=${host.registry} npm_config_cafile=${host.cafile}
              mv "$(${host.nodejs}/bin/node ${host.npm} pack --silent ${name}@${version})" $out
            ''
        else
          runCommand (baseNameOf url) { } ''
            tar -cf $out -C ${host.modules}/node_modules/${name}/.. --exclude=node_modules ${baseNameOf name}
          '';

      # The start script of a guest, as nodes have it.
      guest =
        name:
        runCommand "run-${name}-vm" { } ''
          mkdir -p $out/bin
          cat >$out/bin/run-${name}-vm <<'END'
          #!/bin/bash
          cd "$TMPDIR"
          exec ${self.qemu_test}/bin/qemu-system-x86_64 -machine accel=kvm:tcg -cpu max -name ${name} -m 256 \
            -device virtio-rng-pci -device virtio-net-pci,netdev=user.0,romfile= -netdev user,id=user.0,"$QEMU_NET_OPTS" \
            -kernel ${host.guest}/kernel -initrd ${host.guest}/initrd \
            -append "${host.cmdline} console=ttyS0 $QEMU_KERNEL_PARAMS" \
            $QEMU_OPTS "$@"
          END
          chmod +x $out/bin/run-${name}-vm
        '';

      testers.runNixOSTest =
        module:
        let
          evaluate =
            more:
            (lib.evalModules {
              modules = [
                ./testing.nix
                (if host.hasDriver then ./driver.nix else ./old-driver.nix)
                module
                { hostPkgs = self; }
              ]
              ++ more;
            }).config;
          # The test is evaluated once more, with the options of its `interactive`.
          interactive = evaluate [ { extraDriverArgs = [ "--interactive" ]; } ];
        in
        (evaluate [ ]).test // { driverInteractive = interactive.driver; };
    }
    // (if host.hasDriver then { nixos-test-driver = callPackage ./nixos/lib/test-driver { }; } else { });

  extended =
    overlays:
    let
      self =
        builtins.foldl' (previous: overlay: previous // overlay self previous) (packages self) overlays
        // {
          extend = overlay: extended (overlays ++ [ overlay ]);
        };
    in
    self;
in
extended [ ]

# vmtest: its commands, with what they need on their PATH.
{
  lib,
  bash,
  callPackage,
  coreutils,
  ffmpeg-headless,
  gnutar,
  makeWrapper,
  nodejs,
  nodejs_24,
  perl,
  python3,
  qemu_kvm,
  stdenvNoCC,
  swtpm,
  tesseract5,
  util-linux,
  vde2,
}:
let
  manifest = lib.importJSON ../package.json;

  # Older releases have an older one by default.
  needed = lib.removePrefix ">=" manifest.engines.node;
  node = if lib.versionAtLeast nodejs.version needed then nodejs else nodejs_24;

  # Building images of Debian needs Debian's keyring at its place, so that its tools are the host's to have.
  tools = [
    bash
    coreutils
    ffmpeg-headless
    gnutar
    perl
    python3
    qemu_kvm
    swtpm
    (tesseract5.override { enableLanguages = [ "eng" ]; })
    util-linux
    vde2
  ];

  modules = callPackage ./modules.nix;

  # The peers are installed beside the package, whose copies test scripts get.
  runtime = builtins.attrNames manifest.dependencies ++ [
    "effect"
    "@effect/platform-node"
  ];

  # What the sources are compiled with. Node comes from nixpkgs, and the rest of the development dependencies is for tests.
  compile = [
    "@effect/vitest"
    "@types/node"
    "@types/pngjs"
    "preact"
    "typescript"
    "vitest"
  ];

  buildModules = modules {
    name = "vmtest-build-modules";
    roots = runtime ++ compile;
    # Only its types would be used, in types of vitest that vmtest does not use.
    without = [ "vite" ];
    # The scripts with these names want /usr/bin/env, which a build has not; these programs are what they start.
    programs = {
      tsc = "@typescript/typescript-linux-x64/lib/tsc";
      esbuild = "@esbuild/linux-x64/bin/esbuild";
    };
  };

  runtimeModules = modules {
    name = "vmtest-modules";
    roots = runtime;
  };

  # Builds have no home folder.
  cacheInBuilds = lib.escapeShellArgs [
    "--run"
    ''[ "''${HOME-}" != /homeless-shelter ] || export XDG_CACHE_HOME="''${XDG_CACHE_HOME-''${TMPDIR-/tmp}/vmtest-cache}"''
  ];

  wanted = [
    "bin"
    "src"
    "web"
    "scripts/build.mjs"
    "scripts/lib.mjs"
    "package.json"
    "package-lock.json"
    "tsconfig.json"
    "tsconfig.build.json"
    "LICENSE"
    "README.md"
  ];
in
stdenvNoCC.mkDerivation {
  pname = "vmtest";
  inherit (manifest) version;

  src = builtins.path {
    name = "vmtest-source";
    path = ../.;
    filter =
      file: _:
      let
        path = lib.removePrefix (toString ../. + "/") (toString file);
      in
      path == "scripts" || lib.any (name: path == name || lib.hasPrefix (name + "/") path) wanted;
  };

  nativeBuildInputs = [
    makeWrapper
    node
  ];

  buildPhase = ''
    runHook preBuild
    ln -s ${buildModules}/node_modules node_modules
    node scripts/build.mjs
    rm node_modules
    runHook postBuild
  '';

  installPhase = ''
    runHook preInstall
    package="$out/lib/node_modules/vmtest"
    mkdir -p "$package" "$out/bin"
    cp -r bin dist src package.json LICENSE README.md "$package"
    ln -s ${runtimeModules}/node_modules "$package/node_modules"
    ${lib.concatStrings (
      lib.mapAttrsToList (name: file: ''
        makeWrapper ${node}/bin/node "$out/bin/${name}" \
          --add-flags --min-semi-space-size=16 \
          --add-flags "$package/${file}" \
          --prefix PATH : ${lib.makeBinPath tools} \
          ${cacheInBuilds}
      '') manifest.bin
    )}
    runHook postInstall
  '';

  # Built from files that have no more than they need.
  dontFixup = true;

  passthru = {
    inherit
      tools
      cacheInBuilds
      buildModules
      runtimeModules
      ;
    nodejs = node;
  };

  meta = {
    inherit (manifest) description;
    license = lib.licenses.mit;
    mainProgram = "vmtest";
    platforms = [ "x86_64-linux" ];
  };
}

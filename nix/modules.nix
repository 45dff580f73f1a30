# node_modules as the lock file has it: the packages that `roots` need, each unpacked from the registry's archive.
#
# The lock file does not say where archives are, because every registry has the same ones: it follows from name and version.
# What an archive contains is checked against the lock file's digest.
{
  lib,
  fetchurl,
  runCommand,
  # The lock file's packages: place → package.
  packages ? (lib.importJSON ../package-lock.json).packages,
  name,
  # Names of packages.
  roots,
  # Names of packages that others name, and that are not used.
  without ? [ ],
  # Programs for node_modules/.bin: name → file in node_modules.
  programs ? { },
}:
let
  toList = value: if builtins.isList value then value else [ value ];
  # vmtest runs on x86_64 alone.
  fits =
    package:
    builtins.elem "linux" (toList (package.os or "linux"))
    && builtins.elem "x64" (toList (package.cpu or "x64"))
    && builtins.elem "glibc" (toList (package.libc or "glibc"));

  # Where `place` finds a package that it imports: in its own node_modules, or in one further up.
  find =
    place: name:
    let
      candidate = (if place == "" then "" else place + "/") + "node_modules/" + name;
      parents = builtins.match "(.*)/node_modules/.*" place;
    in
    if packages ? ${candidate} then
      [ candidate ]
    else if place == "" then
      [ ]
    else
      find (if parents == null then "" else builtins.head parents) name;

  needs =
    place:
    let
      package = packages.${place};
      isWanted = peer: !((package.peerDependenciesMeta or { }).${peer} or { }).optional or false;
    in
    builtins.concatMap (find place) (
      builtins.filter (name: !builtins.elem name without) (
        builtins.attrNames (package.dependencies or { } // package.optionalDependencies or { })
        ++ builtins.filter isWanted (builtins.attrNames (package.peerDependencies or { }))
      )
    );

  keys = places: map (key: { inherit key; }) (builtins.filter (place: fits packages.${place}) places);
  places = map (item: item.key) (
    builtins.genericClosure {
      startSet = keys (builtins.concatMap (find "") roots);
      operator = item: keys (needs item.key);
    }
  );

  archive =
    place:
    let
      package = packages.${place};
      full = package.name or (builtins.head (builtins.match ".*node_modules/(.*)" place));
      file = "${baseNameOf full}-${package.version}.tgz";
    in
    fetchurl {
      url = "https://registry.npmjs.org/${full}/-/${file}";
      hash = package.integrity;
    };

  unpack = place: ''
    mkdir -p "$out/${place}"
    tar -xf ${archive place} -C "$out/${place}" --strip-components=1 --no-same-owner --delay-directory-restore
  '';

  program = name: file: ''
    mkdir -p "$out/node_modules/.bin"
    chmod +x "$out/node_modules/${file}"
    ln -s "../${file}" "$out/node_modules/.bin/${name}"
  '';
in
runCommand name { passthru = { inherit places; }; } ''
  ${lib.concatMapStrings unpack places}
  # Some archives have folders that nobody may enter.
  chmod -R u+rwX,a+rX "$out"
  ${lib.concatStrings (lib.mapAttrsToList program programs)}
''

# The functions of nixpkgs' lib that are used, and its modules in small: options at the top level only, with defaults, `apply`,
# and definitions that merge.
let
  inherit (builtins)
    attrNames
    attrValues
    concatMap
    elemAt
    filter
    foldl'
    head
    isAttrs
    isFunction
    isList
    length
    listToAttrs
    mapAttrs
    stringLength
    substring
    ;

  hasPrefix = prefix: text: substring 0 (stringLength prefix) text == prefix;

  mkOverride = priority: content: { _override = priority; inherit content; };

  mergeTwo =
    a: b:
    if isList a && isList b then
      a ++ b
    else if isAttrs a && isAttrs b && !(a ? outPath) then
      a // mapAttrs (name: value: if a ? ${name} then mergeTwo a.${name} value else value) b
    else if a == b then
      a
    else
      throw "an option has two values";

  evalModules =
    { modules, ... }:
    let
      flatten =
        module:
        let
          file = if builtins.isPath module then import module else module;
          value = if isFunction file then file (args // { inherit (config) hostPkgs; }) else file;
        in
        concatMap flatten (value.imports or [ ]) ++ [ value ];
      all = concatMap flatten modules;
      options = foldl' (
        sum: module: sum // mapAttrs (name: option: (sum.${name} or { }) // option) (module.options or { })
      ) { } all;
      definitionsIn = module: removeAttrs (module.config or module) [ "imports" "options" "config" "_module" ];
      valueOf =
        name: option:
        let
          definitions = concatMap (
            module:
            let
              found = definitionsIn module;
            in
            if found ? ${name} then
              [ (if found.${name} ? _override then found.${name} else mkOverride 100 found.${name}) ]
            else
              [ ]
          ) all ++ (if option ? default then [ (mkOverride 1500 option.default) ] else [ ]);
          first = foldl' (least: item: if item._override < least then item._override else least) 9999 definitions;
          chosen = map (item: item.content) (filter (item: item._override == first) definitions);
          value =
            if chosen == [ ] then
              throw "the option ${name} has no value"
            else if (option.readOnly or false) && first != 1500 then
              throw "the option ${name} is read-only"
            else
              foldl' mergeTwo (head chosen) (builtins.tail chosen);
        in
        (option.apply or (same: same)) value;
      unknown = filter (name: !(options ? ${name})) (concatMap (module: attrNames (definitionsIn module)) all);
      config =
        if unknown == [ ] then mapAttrs valueOf options else throw "the option ${head unknown} does not exist";
      args = { inherit config lib; };
    in
    { inherit config options; };

  lib = rec {
    inherit evalModules hasPrefix mkOverride;
    any = builtins.any;
    concatMapStrings = f: list: concatStrings (map f list);
    concatStrings = builtins.concatStringsSep "";
    concatStringsSep = builtins.concatStringsSep;
    escapeShellArg = text: "'${builtins.replaceStrings [ "'" ] [ "'\\''" ] (toString text)}'";
    escapeShellArgs = list: concatStringsSep " " (map escapeShellArg list);
    genAttrs = names: f: listToAttrs (map (name: { inherit name; value = f name; }) names);
    importJSON = path: builtins.fromJSON (builtins.readFile path);
    licenses.mit = { };
    makeBinPath = packages: concatStringsSep ":" (map (package: "${package}/bin") packages);
    mapAttrsToList = f: set: map (name: f name set.${name}) (attrNames set);
    mkForce = mkOverride 50;
    mkOption = option: option;
    optionalString = condition: text: if condition then text else "";
    removePrefix =
      prefix: text: if hasPrefix prefix text then substring (stringLength prefix) (stringLength text) text else text;
    versionAtLeast = a: b: builtins.compareVersions a b >= 0;
  };
in
lib

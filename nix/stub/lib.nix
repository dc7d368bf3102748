# A small module system of our own, with the names of nixpkgs' lib that our modules use: enough to evaluate them where nixpkgs
# cannot be had. Builtins only. It is a stand-in and says so: what it accepts, the real one may still refuse.
let
  inherit (builtins)
    all
    any
    attrNames
    attrValues
    concatLists
    concatMap
    concatStringsSep
    elem
    elemAt
    filter
    foldl'
    functionArgs
    genList
    head
    isAttrs
    isBool
    isFloat
    isFunction
    isInt
    isList
    isPath
    isString
    length
    listToAttrs
    mapAttrs
    match
    removeAttrs
    replaceStrings
    stringLength
    substring
    tail
    toJSON
    typeOf
    ;

  genAttrs =
    names: make:
    listToAttrs (
      map (name: {
        inherit name;
        value = make name;
      }) names
    );
  unique = foldl' (seen: x: if elem x seen then seen else seen ++ [ x ]) [ ];
  optional = condition: x: if condition then [ x ] else [ ];
  show = concatStringsSep ".";
  isType = name: v: isAttrs v && (v._type or null) == name;
  showValue =
    v:
    if isAttrs v then
      (if v ? outPath then "a derivation" else "a set with ${toJSON (attrNames v)}")
    else if isFunction v then
      "a function"
    else if isPath v then
      toString v
    else if isList v then
      "[ ${concatStringsSep " " (map showValue v)} ]"
    else
      toJSON v;
  hasPrefix = prefix: text: substring 0 (stringLength prefix) text == prefix;
  last = list: elemAt list (length list - 1);
  recursiveUpdate =
    a: b:
    a
    // mapAttrs (
      name: value:
      if a ? ${name} && isAttrs a.${name} && isAttrs value then recursiveUpdate a.${name} value else value
    ) b;
  setAttrByPath =
    path: value: if path == [ ] then value else { ${head path} = setAttrByPath (tail path) value; };

  # ---- definitions: { file, value }; conditions are discharged, the strongest priority stays, at every level ----

  expand =
    def:
    if isType "merge" def.value then
      concatMap (value: expand (def // { inherit value; })) def.value.contents
    else if isType "if" def.value then
      (if def.value.condition then expand (def // { value = def.value.content; }) else [ ])
    else if isType "override" def.value then
      map (inner: inner // { inherit (def.value) priority; }) (
        expand (def // { value = def.value.content; })
      )
    else if isType "order" def.value then
      map (inner: inner // { inherit (def.value) order; }) (
        expand (def // { value = def.value.content; })
      )
    else
      [ def ];
  settle =
    defs:
    let
      given = concatMap expand defs;
      strongest = foldl' (least: def: if priority def < least then priority def else least) 9999 given;
      priority = def: def.priority or 100;
      order = def: def.order or 1000;
    in
    builtins.sort (a: b: order a < order b) (filter (def: priority def == strongest) given);

  # Through properties down to the names of a set, so that these are known before conditions are.
  inner =
    def:
    if isType "merge" def.value then
      concatMap (value: inner (def // { inherit value; })) def.value.contents
    else if isType "if" def.value then
      map (
        d:
        d
        // {
          value = mapAttrs (_: content: {
            _type = "if";
            inherit (def.value) condition;
            inherit content;
          }) d.value;
        }
      ) (inner (def // { value = def.value.content; }))
    else if isType "override" def.value then
      map (
        d:
        d
        // {
          value = mapAttrs (_: content: {
            _type = "override";
            inherit (def.value) priority;
            inherit content;
          }) d.value;
        }
      ) (inner (def // { value = def.value.content; }))
    else
      [ def ];
  named =
    name: defs:
    concatMap (def: optional (def.value ? ${name}) (def // { value = def.value.${name}; })) defs;
  namesOf = defs: unique (concatMap (def: attrNames def.value) defs);

  # ---- types ----

  one =
    path: defs:
    if length defs == 1 || all (def: def.value == (head defs).value) defs then
      (head defs).value
    else
      throw "option `${show path}' has conflicting definitions: ${
        concatStringsSep " and " (map (def: "${showValue def.value} (${def.file})") defs)
      }";
  mkType = description: check: {
    _type = "option-type";
    inherit description check;
    merge = one;
    nested = [ ];
  };
  mergeAs =
    path: type: defs:
    let
      settled = settle defs;
      wrong = filter (def: !type.check def.value) settled;
    in
    if wrong != [ ] then
      throw "option `${show path}' is not of type ${type.description}: ${showValue (head wrong).value} (${(head wrong).file})"
    else
      type.merge path settled;
  isDefined = defs: concatMap expand defs != [ ];

  # What formats.yaml and formats.json take: sets merge, lists are joined, everything else has to agree.
  data = (mkType "YAML 1.2 value" isData) // {
    merge =
      path: defs:
      if all (def: isPlainSet def.value) defs then
        mergeSets data path defs
      else if all (def: isList def.value) defs then
        concatMap (def: def.value) defs
      else
        one path defs;
  };
  isPlainSet = v: isAttrs v && !(v ? outPath) && !(v ? _type);
  isData =
    v:
    v == null || isBool v || isInt v || isFloat v || isString v || isPath v || isList v || isPlainSet v;
  mergeSets =
    type: path: defs:
    listToAttrs (
      concatMap (
        name:
        optional (isDefined (named name defs)) {
          inherit name;
          value = mergeAs (path ++ [ name ]) type (named name defs);
        }
      ) (namesOf defs)
    );

  types = {
    bool = mkType "boolean" isBool;
    int = mkType "signed integer" isInt;
    float = mkType "floating point number" isFloat;
    str = mkType "string" isString;
    nonEmptyStr = mkType "non-empty string" (v: isString v && match "[ \t\n]*" v == null);
    singleLineStr = mkType "(optionally newline-terminated) single-line string" (
      v: isString v && match "[^\n]*\n?" v != null
    );
    port = types.ints.between 0 65535 // {
      description = "16 bit unsigned integer; between 0 and 65535 (both inclusive)";
    };
    ints = {
      between =
        least: most:
        mkType "integer between ${toString least} and ${toString most} (both inclusive)" (
          v: isInt v && v >= least && v <= most
        );
      positive = mkType "positive integer, meaning >0" (v: isInt v && v > 0);
      unsigned = mkType "unsigned integer, meaning >=0" (v: isInt v && v >= 0);
    };
    path = mkType "absolute path" (
      v: isPath v || (isAttrs v && v ? outPath) || (isString v && hasPrefix "/" v)
    );
    package = mkType "package" (v: isAttrs v && v ? outPath);
    raw = mkType "raw value" (_: true);
    enum = values: mkType "one of ${concatStringsSep ", " (map toJSON values)}" (v: elem v values);
    strMatching =
      pattern: mkType "string matching the pattern ${pattern}" (v: isString v && match pattern v != null);
    lines = (mkType "strings concatenated with \"\\n\"" isString) // {
      merge = _: defs: concatStringsSep "\n" (map (def: def.value) defs);
    };
    nullOr =
      type:
      (mkType "null or ${type.description}" (v: v == null || type.check v))
      // {
        merge =
          path: defs:
          if all (def: def.value == null) defs then
            null
          else if any (def: def.value == null) defs then
            one path defs
          else
            type.merge path defs;
        nested = [ type ];
      };
    either =
      a: b:
      (mkType "${a.description} or ${b.description}" (v: a.check v || b.check v))
      // {
        merge =
          path: defs:
          if all (def: a.check def.value) defs then
            a.merge path defs
          else if all (def: b.check def.value) defs then
            b.merge path defs
          else
            one path defs;
        nested = [
          a
          b
        ];
      };
    oneOf = list: foldl' types.either (head list) (tail list);
    listOf =
      type:
      (mkType "list of ${type.description}" isList)
      // {
        merge =
          path: defs:
          concatLists (
            genList (
              d:
              let
                def = elemAt defs d;
              in
              genList (
                i: mergeAs (path ++ [ "[${toString i}]" ]) type [ (def // { value = elemAt def.value i; }) ]
              ) (length def.value)
            ) (length defs)
          );
        nested = [ type ];
      };
    attrsOf =
      type:
      (mkType "attribute set of ${type.description}" (v: isAttrs v && !(v ? outPath)))
      // {
        merge = path: defs: mergeSets type path (concatMap inner defs);
        nested = [ type ];
      };
    submodule =
      module:
      (mkType "submodule" (v: (isAttrs v && !(v ? outPath)) || isFunction v))
      // {
        merge =
          path: defs:
          (evalModules {
            modules = [
              module
            ]
            ++ map (def: {
              _file = def.file;
              config = def.value;
            }) defs;
            prefix = path;
            specialArgs.name = last path;
          }).config;
        inherit module;
        nested = [ ];
      };
    addCheck = type: check: type // { check = v: type.check v && check v; };
  };

  # ---- modules ----

  evalModules =
    {
      modules,
      specialArgs ? { },
      prefix ? [ ],
    }:
    let
      args = specialArgs // {
        inherit config options;
        lib = self;
      };
      call =
        f:
        let
          wanted = functionArgs f;
        in
        f (if wanted == { } then args else listToAttrs (concatMap give (attrNames wanted)));
      give =
        name:
        if args ? ${name} then
          [
            {
              inherit name;
              value = args.${name};
            }
          ]
        else
          throw "a module asks for `${name}', which nobody gives it";
      load =
        m:
        if isPath m then
          load (import m)
          // {
            _file = toString m;
            key = toString m;
          }
        else if isFunction m then
          call m
        else
          m;
      known = [
        "_file"
        "key"
        "imports"
        "options"
        "config"
        "freeformType"
        "meta"
      ];
      # Each file once, however often it is imported.
      collect =
        seen: list:
        foldl' (
          got: m:
          let
            loaded = load m;
            after = collect (got ++ [ loaded ]) (loaded.imports or [ ]);
          in
          if isPath m && any (other: (other.key or null) == toString m) got then got else after
        ) seen list;
      loaded = collect [ ] modules;
      fileOf = m: m._file or "a module without a name";
      shaped = m: m ? config || m ? options;
      definitions = map (
        m:
        let
          strange = filter (name: !elem name known) (attrNames m);
        in
        {
          file = fileOf m;
          value =
            if !shaped m then
              removeAttrs m known
            else if strange != [ ] then
              throw "${fileOf m} has both options or config and ${toJSON strange}: put these below config"
            else
              m.config or { };
        }
      ) loaded;
      join =
        path: trees:
        let
          found = filter (isType "option") trees;
        in
        if found == [ ] then
          genAttrs (unique (concatMap attrNames trees)) (
            name: join (path ++ [ name ]) (concatMap (tree: optional (tree ? ${name}) tree.${name}) trees)
          )
        else if length trees == 1 then
          head found
        else
          throw "option `${show path}' is declared more than once";
      options = join prefix (map (m: m.options or { }) loaded);
      freeform =
        let
          types = filter (m: m ? freeformType) loaded;
        in
        if types == [ ] then null else (head types).freeformType;

      value =
        path: option: defs:
        let
          type = option.type or types.raw;
          given = concatMap expand defs;
        in
        if given != [ ] && option.readOnly or false then
          throw "option `${show path}' is read-only (${(head given).file})"
        else if given != [ ] then
          (option.apply or (x: x)) (mergeAs path type defs)
        else if option ? default then
          (option.apply or (x: x)) (
            mergeAs path type [
              {
                file = "its default";
                value = option.default;
              }
            ]
          )
        else
          throw "option `${show path}' is used but not defined";
      setsOnly =
        path:
        map (
          def:
          if isAttrs def.value then
            def
          else
            throw "`${show path}' holds options and cannot be ${showValue def.value} (${def.file})"
        );
      values =
        path: tree: defs:
        let
          sets = setsOnly path (concatMap inner defs);
        in
        mapAttrs (
          name: below:
          (if isType "option" below then value else values) (path ++ [ name ]) below (named name sets)
        ) tree;
      # What no option takes: [ { path, def } ].
      strays =
        path: tree: defs:
        let
          sets = setsOnly path (concatMap inner defs);
        in
        concatMap (
          name:
          let
            defs = named name sets;
            here = path ++ [ name ];
          in
          if !(tree ? ${name}) then
            map (def: {
              path = here;
              inherit def;
            }) defs
          else if isType "option" tree.${name} then
            [ ]
          else
            strays here tree.${name} defs
        ) (namesOf sets);
      stray = strays prefix options definitions;
      free = mergeAs prefix freeform (
        map (
          { path, def }:
          def
          // {
            value = setAttrByPath (genList (i: elemAt path (i + length prefix)) (
              length path - length prefix
            )) def.value;
          }
        ) stray
      );
      wanted = values prefix options definitions;
      config =
        if freeform != null then
          recursiveUpdate wanted (if stray == [ ] then { } else free)
        else if prefix != [ ] && stray != [ ] then
          nowhere
        else
          wanted;
      nowhere = throw "option `${show (head stray).path}' does not exist (${(head stray).def.file})";
      # What was defined, or has a default: what is never asked for need not be there.
      defined =
        path: tree: defs:
        let
          sets = concatMap inner defs;
        in
        listToAttrs (
          concatMap (
            name:
            let
              below = tree.${name};
              here = named name sets;
              there = path ++ [ name ];
            in
            if !isType "option" below then
              [
                {
                  inherit name;
                  value = defined there below here;
                }
              ]
            else
              optional (below ? default || isDefined here) {
                inherit name;
                value = value there below here;
              }
          ) (attrNames tree)
        );
    in
    {
      inherit options config;
      # Everything there is, as one value that can be looked at to its end.
      whole = if stray != [ ] && freeform == null then nowhere else defined prefix options definitions;
    };

  splitString =
    separator: text:
    filter isString (
      builtins.split (replaceStrings [ "." "-" "/" ] [ "[.]" "[-]" "/" ] separator) text
    );

  self = {
    inherit
      all
      any
      attrNames
      attrValues
      concatLists
      concatMap
      concatStringsSep
      data
      elem
      evalModules
      filter
      foldl'
      genAttrs
      hasPrefix
      head
      isType
      last
      length
      mapAttrs
      optional
      recursiveUpdate
      setAttrByPath
      splitString
      tail
      types
      unique
      ;
    mkOption = option: option // { _type = "option"; };
    mkEnableOption =
      what:
      self.mkOption {
        type = types.bool;
        default = false;
        example = true;
        description = "Whether to enable ${what}.";
      };
    mkPackageOption =
      pkgs: name:
      {
        extraDescription ? "",
      }:
      self.mkOption {
        type = types.package;
        default = pkgs.${name};
        defaultText = self.literalExpression "pkgs.${name}";
        description =
          "The ${name} package to use." + (if extraDescription == "" then "" else " ${extraDescription}");
      };
    mkIf = condition: content: {
      _type = "if";
      inherit condition content;
    };
    mkMerge = contents: {
      _type = "merge";
      inherit contents;
    };
    mkOverride = priority: content: {
      _type = "override";
      inherit priority content;
    };
    mkDefault = self.mkOverride 1000;
    mkForce = self.mkOverride 50;
    mkOrder = order: content: {
      _type = "order";
      inherit order content;
    };
    mkBefore = self.mkOrder 500;
    mkAfter = self.mkOrder 1500;
    literalExpression = text: {
      _type = "literalExpression";
      inherit text;
    };
    literalMD = text: {
      _type = "literalMD";
      inherit text;
    };
    optionals = condition: list: if condition then list else [ ];
    optionalAttrs = condition: set: if condition then set else { };
    optionalString = condition: text: if condition then text else "";
    concatMapAttrs = make: set: foldl' (all: name: all // make name set.${name}) { } (attrNames set);
    nameValuePair = name: value: { inherit name value; };
    mapAttrs' = make: set: listToAttrs (map (name: make name set.${name}) (attrNames set));
    mapAttrsToList = make: set: map (name: make name set.${name}) (attrNames set);
    filterAttrs =
      keep: set: genAttrs (filter (name: keep name set.${name}) (attrNames set)) (name: set.${name});
    concatMapStringsSep =
      separator: make: list:
      concatStringsSep separator (map make list);
    hasAttrByPath =
      path: set:
      path == [ ]
      || (isAttrs set && set ? ${head path} && self.hasAttrByPath (tail path) set.${head path});
    removePrefix =
      prefix: text:
      if hasPrefix prefix text then
        substring (stringLength prefix) (stringLength text - stringLength prefix) text
      else
        text;
    removeSuffix =
      suffix: text:
      let
        rest = stringLength text - stringLength suffix;
      in
      if rest >= 0 && substring rest (stringLength suffix) text == suffix then
        substring 0 rest text
      else
        text;
    intersectLists = a: filter (x: elem x a);
    toInt =
      text:
      if match "[0-9]+" text == null then throw "`${text}' is not a number" else builtins.fromJSON text;
    getExe =
      package:
      "${package}/bin/${
        package.meta.mainProgram or (throw "${package.name} does not say its main program")
      }";
    getExe' = package: name: "${package}/bin/${name}";
    makeBinPath = self.concatMapStringsSep ":" (package: "${package}/bin");
    inherit typeOf;
  };
in
self

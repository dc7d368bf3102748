# The stub itself: it refuses what it is there to refuse. Gives the names of the tests that failed.
let
  lib = import ./lib.nix;
  pkgs = import ./pkgs.nix;
  inherit (lib)
    mkOption
    mkIf
    mkMerge
    mkForce
    mkDefault
    types
    ;

  evaluate =
    modules:
    (lib.evalModules {
      specialArgs = { inherit pkgs; };
      inherit modules;
    }).whole;
  # Whether a value can be had to its end.
  holds = value: (builtins.tryEval (builtins.deepSeq value true)).success;
  option = type: { options.x = mkOption { inherit type; }; };
  gives = type: definitions: expected: {
    a = holds (evaluate ([ (option type) ] ++ definitions));
    b = (evaluate ([ (option type) ] ++ definitions)).x == expected;
  };
  refuses = type: definitions: { a = !holds (evaluate ([ (option type) ] ++ definitions)); };
  free = types.submodule { freeformType = types.attrsOf lib.data; };

  rules = {
    "equal definitions are one" = gives types.str [
      { x = "a"; }
      { x = "a"; }
    ] "a";
    "two that differ are refused" = refuses types.str [
      { x = "a"; }
      { x = "b"; }
    ];
    "force wins" = gives types.str [
      { x = "a"; }
      { x = mkForce "b"; }
    ] "b";
    "a default gives way" = gives types.str [
      { x = "a"; }
      { x = mkDefault "b"; }
    ] "a";
    "two defaults that differ are refused" = refuses types.str [
      { x = mkDefault "a"; }
      { x = mkDefault "b"; }
    ];
    "a false condition defines nothing" = gives types.str [
      { x = "a"; }
      { x = mkIf false "b"; }
    ] "a";
    "a condition over a whole set does the same" = gives types.str [
      { x = "a"; }
      (mkIf false { x = "b"; })
    ] "a";
    "an unknown name is refused" = refuses types.str [
      { x = "a"; }
      { y = "a"; }
    ];
    "an unknown name is refused also where the condition is false" = refuses types.str [
      { x = "a"; }
      (mkIf false { y = "a"; })
    ];
    "lists are joined, and can be ordered" =
      gives (types.listOf types.str)
        [
          { x = [ "b" ]; }
          { x = lib.mkBefore [ "a" ]; }
        ]
        [ "a" "b" ];
    "force replaces a list" =
      gives (types.listOf types.str)
        [
          { x = [ "b" ]; }
          { x = mkForce [ "a" ]; }
        ]
        [ "a" ];
    "what is in a list has a type" = refuses (types.listOf types.str) [ { x = [ 1 ]; } ];
    "sets are joined" =
      gives (types.attrsOf types.int)
        [
          { x.a = 1; }
          { x.b = 2; }
        ]
        {
          a = 1;
          b = 2;
        };
    "a set without what a false condition held" = gives (types.attrsOf types.int) [
      { x.a = 1; }
      { x.b = mkIf false 2; }
    ] { a = 1; };
    "lines are joined" = gives types.lines [
      { x = "a"; }
      { x = "b"; }
    ] "a\nb";
    "free settings are joined at every depth" =
      gives free
        [
          { x.a.b.c = 1; }
          { x.a.b.d = 2; }
        ]
        {
          a.b = {
            c = 1;
            d = 2;
          };
        };
    "free settings that differ are refused" = refuses free [
      { x.a.b = 1; }
      { x.a.b = 2; }
    ];
    "free settings that differ in kind are refused" = refuses free [
      { x.a.b = 1; }
      { x.a.b.c = 1; }
    ];
    "force wins deep in free settings" = gives free [
      { x.a.b = 1; }
      { x.a.b = mkForce 2; }
    ] { a.b = 2; };
    "a merge deep in free settings" =
      gives free
        [
          {
            x.a = mkMerge [
              { b = 1; }
              (mkIf true { c = 2; })
            ];
          }
        ]
        {
          a = {
            b = 1;
            c = 2;
          };
        };
    "a function is no setting" = refuses free [ { x.a.b = y: y; } ];
    "an option beside free settings keeps its type" = refuses (types.submodule {
      freeformType = types.attrsOf lib.data;
      options.port = mkOption { type = types.port; };
    }) [ { x.port = 99999; } ];
    "a submodule refuses what it does not know" =
      refuses
        (types.submodule {
          options.a = mkOption { type = types.int; };
        })
        [
          {
            x = {
              a = 1;
              b = 1;
            };
          }
        ];
    "a submodule knows its name" = gives (types.attrsOf (
      types.submodule (
        { name, ... }:
        {
          options.n = mkOption {
            type = types.str;
            default = name;
          };
        }
      )
    )) [ { x.a = { }; } ] { a.n = "a"; };
    "what is needed and not there is refused" = {
      a = !holds (lib.evalModules { modules = [ (option types.str) ]; }).config.x;
    };
    "an option is declared once" = refuses types.str [
      (option types.str)
      { x = "a"; }
    ];
    "options and settings are not mixed" = refuses types.str [
      {
        config.x = "a";
        y = "b";
      }
    ];
    "a file imported twice counts once" = {
      a =
        holds
          (lib.evalModules {
            specialArgs = { inherit pkgs; };
            modules = [
              ./schema.nix
              { imports = [ ./schema.nix ]; }
            ];
          }).options.assertions._type;
    };
    "a program without a name is refused" = {
      a =
        !holds (
          lib.getExe {
            name = "x";
            outPath = "/x";
          }
        );
    };
  };
  broken = lib.filter (name: !lib.all (part: part) (lib.attrValues rules.${name})) (
    lib.attrNames rules
  );

  # Every entry of the schema denies something. The probes are of every kind; what takes all of them has to be named here.
  takesAnything = {
    "specialisation.*.configuration" = "a module; the specialisation's own evaluation would judge it";
  };
  probes = [
    true
    42
    (-1)
    "x y"
    ""
    [ (x: x) ]
    [ 42 ]
    [ "x y" ]
    { }
    { a = 42; }
    { a = x: x; }
    { a.a = 42; }
    { a.a.a = 42; }
    { a.a.a = x: x; }
    { Type = "one-shot"; }
    null
    (x: x)
    ./.
  ];
  takes =
    option: probe:
    holds
      (lib.evalModules {
        modules = [
          { options.x = removeAttrs option [ "default" ]; }
          { x = probe; }
        ];
      }).config.x;
  leaves =
    path: tree:
    lib.concatMap (
      name:
      let
        here = path ++ [ name ];
        below = tree.${name};
      in
      if lib.isType "option" below then
        [
          {
            name = lib.concatStringsSep "." here;
            option = below;
          }
        ]
        ++ inside (here) below.type
      else
        leaves here below
    ) (lib.attrNames tree);
  inside =
    path: type:
    if type ? module then
      leaves (path ++ [ "*" ])
        (lib.evalModules {
          specialArgs = {
            inherit pkgs;
            name = "name";
          };
          modules = [ type.module ];
        }).options
    else
      lib.concatMap (inside path) type.nested;
  entries =
    leaves [ ]
      (lib.evalModules {
        specialArgs = { inherit pkgs; };
        modules = [ ./schema.nix ];
      }).options;
  lenient = map (entry: entry.name) (lib.filter (entry: lib.all (takes entry.option) probes) entries);
in
{
  inherit broken;
  entries = lib.length entries;
  rules = lib.length (lib.attrNames rules);
  deniesNothing = lib.filter (name: !(takesAnything ? ${name})) lenient;
  deniesAfterAll = lib.filter (name: !lib.elem name lenient) (lib.attrNames takesAnything);
}

# The packages that our files name, as far as evaluation looks at them: a path in the store, and a main program.
let
  lib = import ./lib.nix;

  derivation =
    name: content: more:
    {
      type = "derivation";
      inherit name content;
      outPath = "${builtins.storeDir}/${
        builtins.substring 0 32 (builtins.hashString "sha256" "${name} ${builtins.toJSON content}")
      }-${name}";
    }
    // more;
  package = name: derivation name null { meta.mainProgram = name; };

  pkgs =
    lib.genAttrs [
      "abra"
      "bubblewrap"
      "busybox"
      "cacert"
      "cc-ci"
      "chromedriver"
      "chromium"
      "coreutils"
      "curl"
      "docker"
      "git"
      "jq"
      "restic"
      "traefik"
    ] package
    // {
      inherit lib;
      formats.yaml =
        { }:
        {
          type = lib.data;
          generate = name: value: derivation name value { inherit value; };
        };
      runCommand =
        name: env: script:
        derivation name script { inherit env script; };
      writeText = name: text: derivation name text { inherit text; };
      writeTextDir = path: text: derivation (baseNameOf path) text { inherit text; };
      writeShellScript = name: text: derivation name text { script = text; };
      writeShellScriptBin = name: text: derivation name text { script = text; };
      buildEnv = args: derivation args.name (map toString args.paths) { };
      dockerTools.buildImage = args: derivation args.name (args.config or { }) { };
    };
in
pkgs

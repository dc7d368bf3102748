# Stub evaluation: our modules against a module system and a list of options of our own. Throws what is wrong; otherwise gives
# everything that the checks look at, as plain data.
{ modules }:
let
  lib = import ./lib.nix;
  pkgs = import ./pkgs.nix;
  render = import ./render.nix { inherit lib pkgs; };
  evaluated = lib.evalModules {
    specialArgs = { inherit pkgs; };
    modules = [
      ./schema.nix
      ../modules
    ]
    ++ modules;
  };
  inherit (evaluated) whole;

  # A path would be copied into the store on its way to JSON, a derivation is its path, and functions are nobody's business.
  plain =
    value:
    if builtins.isPath value then
      toString value
    else if builtins.isFunction value then
      "a function"
    else if builtins.isList value then
      map plain value
    else if builtins.isAttrs value then
      (if value ? outPath then value.outPath else builtins.mapAttrs (_: plain) value)
    else
      value;
  failed = map (a: a.message) (lib.filter (a: !a.assertion) whole.assertions);
  inherit (whole.services) cc-ci;
  shown = {
    inherit (whole.systemd) services timers sockets;
    units =
      render.services whole.systemd.services
      // render.timers whole.systemd.timers
      // render.sockets whole.systemd.sockets;
    scripts = render.scripts whole.systemd.services // {
      check-config = (cc-ci.configFiles.host or { script = "true"; }).script;
    };
    inherit (cc-ci) configurations;
    assertions = map (a: a.message) whole.assertions;
    secrets = whole.sops.secrets;
    docker = whole.virtualisation.docker.daemon.settings;
    ports = whole.networking.firewall.allowedTCPPorts;
    inherit (whole) environment;
    specialisations = lib.attrNames whole.specialisation;
    whole = removeAttrs whole [ "specialisation" ];
  };
  data = plain shown;
in
if failed != [ ] then
  throw "failed assertions:\n- ${lib.concatStringsSep "\n- " failed}"
else
  builtins.deepSeq data data

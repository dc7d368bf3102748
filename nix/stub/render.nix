# Unit files as NixOS would write them, as far as our modules go: one line a value, lists as several lines, PATH from `path`.
{ lib, pkgs }:
let
  inherit (lib) concatStringsSep optionalAttrs;
  word =
    value:
    if value == true then
      "true"
    else if value == false then
      "false"
    else
      toString value;
  line =
    key: value:
    if builtins.isList value then
      concatStringsSep "" (map (line key) value)
    else
      "${key}=${word value}\n";
  section = name: keys: "[${name}]\n${concatStringsSep "" (lib.mapAttrsToList line keys)}";
  names = key: list: optionalAttrs (list != [ ]) { ${key} = toString list; };

  unitSection =
    unit:
    unit.unitConfig
    // names "After" unit.after
    // names "Before" unit.before
    // names "Requires" unit.requires
    // names "Wants" unit.wants
    // optionalAttrs (unit.description != "") { Description = unit.description; }
    // optionalAttrs (unit.restartTriggers != [ ]) {
      X-Restart-Triggers = pkgs.writeText "restart-triggers" (builtins.toJSON unit.restartTriggers);
    }
    // optionalAttrs (!(unit.restartIfChanged or true)) { X-RestartIfChanged = false; };
  install = unit: names "WantedBy" unit.wantedBy;

  # What NixOS gives every service.
  usual = [
    pkgs.coreutils
  ];
  # ExecStart and ExecStop made of text.
  made =
    name: unit:
    lib.filterAttrs (_: script: script != null) {
      start = if unit.script == "" then null else script "${name}-start" unit.script;
      pre-stop = if unit.preStop == "" then null else script "${name}-pre-stop" unit.preStop;
    };
  script = name: text: pkgs.writeShellScript "unit-script-${name}" "set -e\n${text}";
  escape = builtins.replaceStrings [ "\\" "\"" "%" ] [ "\\\\" "\\\"" "%%" ];
  serviceSection =
    name: unit:
    optionalAttrs (unit.script != "") { ExecStart = "${(made name unit).start}"; }
    // optionalAttrs (unit.preStop != "") { ExecStop = "${(made name unit).pre-stop}"; }
    // unit.serviceConfig
    // {
      Environment = lib.mapAttrsToList (key: value: "\"${key}=${escape (toString value)}\"") (
        lib.filterAttrs (_: value: value != null) (
          { PATH = lib.makeBinPath (unit.path ++ usual); } // unit.environment
        )
      );
    };
in
{
  services = lib.mapAttrs' (
    name: unit:
    lib.nameValuePair "${name}.service" (
      concatStringsSep "\n" [
        (section "Unit" (unitSection unit))
        (section "Service" (serviceSection name unit))
        (section "Install" (install unit))
      ]
    )
  );
  timers = lib.mapAttrs' (
    name: unit:
    lib.nameValuePair "${name}.timer" (
      concatStringsSep "\n" [
        (section "Unit" (unitSection unit))
        (section "Timer" unit.timerConfig)
        (section "Install" (install unit))
      ]
    )
  );
  sockets = lib.mapAttrs' (
    name: unit:
    lib.nameValuePair "${name}.socket" (
      concatStringsSep "\n" [
        (section "Unit" (unitSection unit))
        (section "Socket" unit.socketConfig)
        (section "Install" (install unit))
      ]
    )
  );
  scripts = lib.concatMapAttrs (
    name: unit:
    lib.mapAttrs' (moment: script: lib.nameValuePair "${name}-${moment}" script.script) (made name unit)
  );
}

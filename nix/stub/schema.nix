# The NixOS and sops-nix options that our modules, the example host and the VM tests set or read: names and types as in
# nixos-26.05. What is not in here does not exist, so that a misspelt name is an error.
{
  lib,
  config,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  option = type: default: mkOption { inherit type default; };
  required = type: mkOption { inherit type; };
  open = types.attrsOf lib.data;

  unitName = types.strMatching "[a-zA-Z0-9@%:_.\\-]+[.](service|socket|device|mount|automount|swap|target|path|timer|scope|slice)";
  unitNames = option (types.listOf unitName) [ ];
  atom = types.oneOf [
    types.bool
    types.int
    types.str
    types.path
    types.package
  ];
  directive = types.either atom (types.listOf atom);
  section = types.attrsOf directive;
  # NixOS looks at the values of these, and at no other directive.
  oneOfThese =
    allowed:
    section
    // {
      merge =
        path: defs:
        let
          merged = section.merge path defs;
          wrong = lib.filter (name: merged ? ${name} && !lib.elem merged.${name} allowed.${name}) (
            lib.attrNames allowed
          );
          name = lib.head wrong;
        in
        if wrong == [ ] then
          merged
        else
          throw "`${
            lib.concatStringsSep "." (path ++ [ name ])
          }' cannot be ${toString merged.${name}}: one of ${toString allowed.${name}}";
    };
  serviceSection = oneOfThese {
    Type = [
      "exec"
      "simple"
      "forking"
      "oneshot"
      "dbus"
      "notify"
      "notify-reload"
      "idle"
    ];
    Restart = [
      "no"
      "on-success"
      "on-failure"
      "on-abnormal"
      "on-abort"
      "always"
    ];
  };

  unit = {
    description = option types.singleLineStr "";
    wantedBy = unitNames;
    after = unitNames;
    before = unitNames;
    requires = unitNames;
    wants = unitNames;
    unitConfig = option section { };
    restartTriggers = option (types.listOf types.raw) [ ];
  };
  units = extra: option (types.attrsOf (types.submodule { options = unit // extra; })) { };

  secretFile =
    { name, ... }:
    {
      options = {
        key = option types.str name;
        path = option types.str "/run/secrets/${name}";
        mode = option types.str "0400";
        owner = option (types.nullOr types.str) "root";
        group = option (types.nullOr types.str) null;
        sopsFile = option types.path config.sops.defaultSopsFile;
        restartUnits = option (types.listOf types.str) [ ];
      };
    };
in
{
  options = {
    assertions = option (types.listOf (
      types.submodule {
        options = {
          assertion = required types.bool;
          message = required types.str;
        };
      }
    )) [ ];

    systemd.services = units {
      serviceConfig = option serviceSection { };
      environment = option (types.attrsOf (
        types.nullOr (
          types.oneOf [
            types.str
            types.path
            types.package
          ]
        )
      )) { };
      path = option (types.listOf (types.either types.package types.str)) [ ];
      script = option types.lines "";
      preStop = option types.lines "";
      restartIfChanged = option types.bool true;
    };
    systemd.sockets = units { socketConfig = option section { }; };
    systemd.timers = units { timerConfig = option section { }; };
    systemd.tmpfiles.settings = option (types.attrsOf (
      types.attrsOf (
        types.attrsOf (
          types.submodule {
            options = {
              mode = option types.str "-";
              user = option types.str "-";
              group = option types.str "-";
              age = option types.str "-";
              argument = option types.str "";
            };
          }
        )
      )
    )) { };

    virtualisation.docker = {
      enable = option types.bool false;
      package = option types.package pkgs.docker;
      logDriver = option (types.enum [
        "none"
        "json-file"
        "syslog"
        "journald"
        "gelf"
        "fluentd"
        "awslogs"
        "splunk"
        "etwlogs"
        "gcplogs"
        "local"
      ]) "journald";
      daemon.settings = option (types.submodule {
        freeformType = open;
        options.live-restore = option types.bool (
          builtins.compareVersions config.system.stateVersion "24.11" < 0
        );
      }) { };
      autoPrune = {
        enable = option types.bool false;
        flags = option (types.listOf types.str) [ ];
      };
    };

    services.dockerRegistry = {
      enable = option types.bool false;
      listenAddress = option types.str "127.0.0.1";
      port = option types.port 5000;
      enableDelete = option types.bool false;
      extraConfig = option open { };
    };
    services.prometheus = {
      enable = option types.bool false;
      listenAddress = option types.str "0.0.0.0";
      scrapeConfigs = option (types.listOf open) [ ];
      ruleFiles = option (types.listOf types.path) [ ];
    };
    services.openssh = {
      enable = option types.bool false;
      settings.PasswordAuthentication = option types.bool true;
    };

    networking.hostName = option (types.strMatching "([[:alnum:]]([[:alnum:]_-]{0,61}[[:alnum:]])?)?") "nixos";
    networking.hosts = option (types.attrsOf (types.listOf types.str)) { };
    networking.firewall = {
      enable = option types.bool true;
      allowedTCPPorts = option (types.listOf types.port) [ ];
    };

    environment.etc = option (types.attrsOf (
      types.submodule {
        options = {
          source = required types.path;
          text = option (types.nullOr types.lines) null;
          mode = option types.str "symlink";
        };
      }
    )) { };
    environment.systemPackages = option (types.listOf types.package) [ ];

    users.users = option (types.attrsOf (
      types.submodule {
        options = {
          isSystemUser = option types.bool false;
          isNormalUser = option types.bool false;
          description = option types.singleLineStr "";
          group = option types.str "";
          extraGroups = option (types.listOf types.str) [ ];
          openssh.authorizedKeys.keys = option (types.listOf types.singleLineStr) [ ];
        };
      }
    )) { };
    users.groups = option (types.attrsOf (
      types.submodule { options.members = option (types.listOf types.str) [ ]; }
    )) { };

    boot.loader.systemd-boot.enable = option types.bool false;
    boot.loader.efi.canTouchEfiVariables = option types.bool false;
    fileSystems = option (types.attrsOf (
      types.submodule {
        options = {
          device = option (types.nullOr types.nonEmptyStr) null;
          fsType = option types.nonEmptyStr "auto";
        };
      }
    )) { };
    nix.settings = option open { };
    nixpkgs.hostPlatform = required types.str;
    time.timeZone = option (types.nullOr types.str) null;
    system.stateVersion = required types.str;

    sops = {
      defaultSopsFile = required types.path;
      age.keyFile = option (types.nullOr (
        types.addCheck types.path (file: !lib.hasPrefix builtins.storeDir (toString file))
      )) null;
      age.sshKeyPaths = option (types.listOf types.path) [ ];
      gnupg.sshKeyPaths = option (types.listOf types.path) [ "/etc/ssh/ssh_host_rsa_key" ];
      secrets = option (types.attrsOf (types.submodule secretFile)) { };
    };

    # Of the VM tests' nodes.
    virtualisation.memorySize = option types.ints.positive 1024;
    virtualisation.cores = option types.ints.positive 1;
    virtualisation.diskSize = option types.ints.positive 1024;
    specialisation = option (types.attrsOf (
      types.submodule { options.configuration = required types.raw; }
    )) { };
    security.pki.certificateFiles = option (types.listOf types.path) [ ];
  };
}

# A copy of cc-ci's database each night, made while everything runs. What it is put back with: docs/install.md.
{ config, lib, ... }:
let
  cfg = config.services.cc-ci;
  inherit (cfg) backup;
in
{
  imports = [ ./base.nix ];

  options.services.cc-ci.backup = {
    enable = lib.mkEnableOption "regular copies of cc-ci's database on this machine; have your own backup take them away";

    directory = lib.mkOption {
      type = lib.types.strMatching "/.+";
      default = "/var/backup/cc-ci";
      description = "Where the copies lie, named after their time. Only root can read them.";
    };

    keep = lib.mkOption {
      type = lib.types.ints.between 1 65535;
      default = 30;
      description = "How many copies are kept.";
    };

    startAt = lib.mkOption {
      type = lib.types.nonEmptyStr;
      default = "daily";
      example = "*-*-* 03:15:00";
      description = "When a copy is made, as `systemd.time(7)` has it.";
    };
  };

  config = lib.mkIf (cfg.enable && backup.enable) {
    systemd.tmpfiles.settings."10-cc-ci".${backup.directory}.d = {
      mode = "0700";
      user = "root";
      group = "root";
    };

    systemd.services.cc-ci-backup = {
      description = "cc-ci: a copy of the database";
      after = [ "systemd-tmpfiles-setup.service" ];
      serviceConfig = import ../lib/hardening.nix // {
        Type = "oneshot";
        ExecStart = "${lib.getExe cfg.package} db backup --state ${cfg.stateDir} --keep ${toString backup.keep} ${backup.directory}";
        # Root without capabilities: what SQLite keeps beside the database is the group's.
        Group = "cc-ci";
        UMask = "0077";
        ReadWritePaths = [
          cfg.stateDir
          backup.directory
        ];
        PrivateNetwork = true;
        ProtectControlGroups = true;
        RestrictNamespaces = true;
        MemoryDenyWriteExecute = true;
        RestrictAddressFamilies = [ "AF_UNIX" ];
        SystemCallFilter = [
          "@system-service"
          "~@privileged @resources"
        ];
      };
    };
    systemd.timers.cc-ci-backup = {
      description = "cc-ci: copies of the database";
      wantedBy = [ "timers.target" ];
      timerConfig = {
        OnCalendar = backup.startAt;
        RandomizedDelaySec = "15m";
        # A machine that was off then makes up for it.
        Persistent = true;
      };
    };
  };
}

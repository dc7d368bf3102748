# A thing that `cc-ci reconcile` keeps as it should be: at boot, whenever what goes into it changes, and each quarter of an hour.
#
# Looking and changing is the program's; there is no mark of "done once". The first unit stays active, so that others can be
# ordered after it and a failure stays in sight. A timer cannot start what is active, so a twin without RemainAfterExit heals.
{
  config,
  lib,
  pkgs,
}:
{
  what,
  description,
  after,
  # An image that is loaded first.
  load ? null,
}:
let
  cfg = config.services.cc-ci;
  name = "cc-ci-${what}";
  common = {
    requires = [ "docker.service" ];
    path = [
      cfg.abra
      config.virtualisation.docker.package
      pkgs.git
    ];
    serviceConfig = import ./hardening.nix // {
      Type = "oneshot";
      ExecStart = "${lib.getExe cfg.package} reconcile ${what} --config ${cfg.configFiles.host}";
      TimeoutStartSec = 600;
      # Root without capabilities: it reads the secrets where they are, and Docker's socket is root's.
      UMask = "0007";
      Group = "cc-ci";
      ReadWritePaths = [ cfg.stateDir ];
      # Processes that abra starts are ended by their control group.
      Delegate = true;
      RestrictNamespaces = true;
      MemoryDenyWriteExecute = true;
      RestrictAddressFamilies = [
        "AF_UNIX"
        "AF_INET"
        "AF_INET6"
        "AF_NETLINK"
      ];
      SystemCallFilter = [
        "@system-service"
        "~@privileged @resources"
      ];
    };
  };
in
{
  services.${name} = lib.recursiveUpdate common {
    inherit description;
    after = [ "docker.service" ] ++ after;
    wantedBy = [ "multi-user.target" ];
    serviceConfig = {
      RemainAfterExit = true;
    }
    // lib.optionalAttrs (load != null) {
      ExecStartPre = "${lib.getExe config.virtualisation.docker.package} load --quiet --input ${load}";
    };
  };
  services."${name}-heal" = lib.recursiveUpdate common {
    description = "${description}, again";
    after = [
      "docker.service"
      "${name}.service"
    ]
    ++ after;
  };
  timers."${name}-heal" = {
    description = "${description}, each quarter of an hour";
    wantedBy = [ "timers.target" ];
    timerConfig = {
      OnCalendar = "*:0/15";
      AccuracySec = "10s";
    };
  };
}

# Docker as a Swarm of one machine, which `cc-ci reconcile swarm` makes and keeps.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.services.cc-ci;
  inherit (config.virtualisation) docker;
  reconcile = import ../lib/reconcile.nix { inherit config lib pkgs; };
  tooMuch = lib.intersectLists docker.autoPrune.flags [
    "--all"
    "-a"
    "--volumes"
  ];
in
{
  imports = [
    ./base.nix
    ./runner.nix
  ];

  options.services.cc-ci.swarm.addressPools = lib.mkOption {
    type = lib.types.listOf (
      lib.types.submodule {
        options = {
          base = lib.mkOption {
            type = lib.types.strMatching "[0-9.]+/[0-9]+";
            description = "Addresses to take networks from.";
          };
          size = lib.mkOption {
            type = lib.types.ints.between 16 29;
            description = "Prefix length of each network.";
          };
        };
      }
    );
    default = [
      {
        base = "10.201.0.0/16";
        size = 24;
      }
    ];
    description = "Where Docker's own networks take their addresses from. Docker's default ends at some thirty networks.";
  };

  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion = docker.enable;
        message = "cc-ci deploys on Docker: leave virtualisation.docker.enable at true.";
      }
      {
        assertion = !(docker.daemon.settings.live-restore or false);
        message = "A Swarm does not go together with live-restore: set virtualisation.docker.daemon.settings.live-restore = false.";
      }
      {
        assertion = !docker.autoPrune.enable || tooMuch == [ ];
        message = "Docker would throw away images and volumes between two runs: take ${lib.concatStringsSep ", " tooMuch} out of virtualisation.docker.autoPrune.flags.";
      }
    ];

    virtualisation.docker = {
      enable = true;
      # Each task's output is the recipe's; a chatty one must not fill the disk.
      logDriver = lib.mkDefault "json-file";
      daemon.settings = {
        live-restore = false;
        log-opts = {
          max-size = lib.mkDefault "20m";
          max-file = lib.mkDefault "2";
        };
        default-address-pools = cfg.swarm.addressPools;
      };
    };

    systemd = lib.mkMerge [
      (reconcile {
        what = "swarm";
        description = "cc-ci: this machine's Swarm and the proxy's network";
        after = [ ];
      })
      {
        # Only images without a name. NixOS's own prune takes stopped containers too, which a run may still want to read.
        services.cc-ci-image-prune = {
          description = "cc-ci: removes images that lost their name";
          requires = [ "docker.service" ];
          after = [ "docker.service" ];
          serviceConfig = import ../lib/hardening.nix // {
            Type = "oneshot";
            ExecStart = "${lib.getExe docker.package} image prune --force";
            # The client speaks to the daemon's socket, which is root's, and to nothing else.
            PrivateNetwork = true;
            ProtectControlGroups = true;
            RestrictNamespaces = true;
            RestrictAddressFamilies = [ "AF_UNIX" ];
            SystemCallFilter = [
              "@system-service"
              "~@privileged @resources"
            ];
          };
        };
        timers.cc-ci-image-prune = {
          description = "cc-ci: removes images that lost their name, each night";
          wantedBy = [ "timers.target" ];
          timerConfig = {
            OnCalendar = "daily";
            RandomizedDelaySec = "1h";
          };
        };
      }
    ];
  };
}

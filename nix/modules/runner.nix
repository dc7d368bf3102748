# The part that deploys. `nixos-rebuild switch` never ends a test: a changed runner is told to finish and then starts anew.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.services.cc-ci;
  unit = "cc-ci-runner";
  credentials = "/run/credentials/${unit}.service";
  hardening = import ../lib/hardening.nix;
  span = import ../lib/span.nix lib;
  teardown = span (cfg.settings.runner.limits.teardown or "180s");
  login = cfg.credentials.registry-login;
  token =
    if cfg.credentials.git-token != null then
      cfg.credentials.git-token
    else
      cfg.credentials.forge-token;
in
{
  imports = [ ./base.nix ];

  options.services.cc-ci.abra = lib.mkPackageOption pkgs "abra" {
    extraDescription = "The runner spawns it for every deployment.";
  };

  config = lib.mkIf cfg.enable {
    services.cc-ci.configurations.runner =
      lib.recursiveUpdate
        # A runner that was told to finish lets its run come to its own end, and no run may take longer than this.
        { runner.grace = cfg.settings.runner.limits.run or "60m"; }
        (
          lib.recursiveUpdate cfg.settings {
            forge.token_file = "${credentials}/git-token";
            runner = {
              abra = lib.getExe cfg.abra;
            }
            // lib.optionalAttrs (login != null) { registry_login_file = "${credentials}/config.json"; };
          }
        );
    services.cc-ci.configurations.host.runner.abra = lib.getExe cfg.abra;

    systemd.services.${unit} = {
      description = "cc-ci: runs";
      wantedBy = [ "multi-user.target" ];
      # Wants, never requires: a oneshot that is restarted would take the runner and its test along.
      wants = [
        "network-online.target"
        "cc-ci-swarm.service"
        "cc-ci-proxy.service"
      ];
      after = [
        "network-online.target"
        "systemd-tmpfiles-setup.service"
        "docker.service"
        "cc-ci-swarm.service"
        "cc-ci-proxy.service"
      ];
      path = [
        cfg.abra
        config.virtualisation.docker.package
        pkgs.bubblewrap
        pkgs.git
      ];
      restartIfChanged = false;
      # Stopped for good, it shall not finish a test but take it down: the first signal has it finish, the second, systemd's own,
      # has it hurry. They are two signals, so that the kernel does not make one of them. If it ended by itself there is nobody.
      preStop = ''
        if [[ -n ''${MAINPID-} ]]; then kill -INT "$MAINPID"; fi
      '';
      serviceConfig = hardening // {
        Type = "notify";
        # Of a process that hangs; one that works says so three times in this time.
        WatchdogSec = 60;
        # Memory holds secrets.
        LimitCORE = 0;
        ExecStart = "${lib.getExe cfg.package} runner --config ${cfg.configFiles.runner}";
        KillSignal = "SIGTERM";
        # Only the runner is told; it ends its children itself, and what is left at the very end is killed.
        KillMode = "mixed";
        TimeoutStopSec = teardown + 60;
        Restart = "always";
        RestartSec = 1;
        # A child that the kernel kills for want of memory is a finding about a recipe.
        OOMPolicy = "continue";
        User = "cc-ci-runner";
        Group = "cc-ci";
        UMask = "0007";
        # Goes with the process: what stands in it was said to this one.
        RuntimeDirectory = unit;
        # None of them is in the environment, and none reaches an app: Docker asks registries in its place.
        LoadCredential = [
          "git-token:${toString token}"
        ]
        ++ lib.optional (login != null) "config.json:${login}";
        ReadWritePaths = [
          cfg.stateDir
          # bubblewrap writes there to forbid user namespaces inside its own; the host's values are root's.
          "/proc/sys/user"
        ];

        # Who may talk to Docker is root on this machine, so this unit is kept from everything else. What it has more than
        # the server, and why:
        # - Docker's socket, hence the host's users as they are (no PrivateUsers);
        SupplementaryGroups = [ "docker" ];
        # - a control group of its own, to end process trees as a whole (no ProtectControlGroups);
        Delegate = true;
        # - namespaces and mounts, to shut scripts of pull requests in; never the host's own, for want of any capability;
        RestrictNamespaces = "user mnt pid net ipc uts cgroup";
        SystemCallFilter = [
          "@system-service"
          "@mount"
          "~@resources @clock @cpu-emulation @debug @module @obsolete @raw-io @reboot @swap"
        ];
        # - all of /proc in there, and the kernel's word about addresses.
        RestrictAddressFamilies = [
          "AF_UNIX"
          "AF_INET"
          "AF_INET6"
          "AF_NETLINK"
        ];
        MemoryDenyWriteExecute = true;
      };
    };

    # A change of the runner, or of its secrets, restarts this instead, which tells the runner to finish and waits for nothing.
    systemd.services."${unit}-renew" = {
      description = "cc-ci: has the runner finish its run and start anew";
      wantedBy = [ "multi-user.target" ];
      # At boot there is none yet to tell.
      before = [ "${unit}.service" ];
      restartTriggers = [
        (builtins.toJSON config.systemd.services.${unit}.serviceConfig)
        (map toString config.systemd.services.${unit}.path)
      ];
      # A second signal would hasten what the first lets finish: each runner is told once.
      script = ''
        if mkdir /run/${unit}/told 2>/dev/null; then
          systemctl kill --kill-whom=main --signal=TERM ${unit}.service
        fi
      '';
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
      };
    };
  };
}

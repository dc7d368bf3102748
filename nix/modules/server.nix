# The part that faces the network: polls the forge, reports, serves the pages. It has no way to Docker.
{ config, lib, ... }:
let
  cfg = config.services.cc-ci;
  unit = "cc-ci-server";
  credentials = "/run/credentials/${unit}.service";
  hardening = import ../lib/hardening.nix;
  hasHook = cfg.credentials.webhook-secret != null;
in
{
  imports = [ ./base.nix ];

  config = lib.mkIf cfg.enable {
    services.cc-ci.configurations.server = lib.recursiveUpdate cfg.settings {
      forge = {
        token_file = "${credentials}/forge-token";
      }
      // lib.optionalAttrs hasHook { webhook.secret_file = "${credentials}/webhook-secret"; };
    };

    # systemd holds the socket, so that whoever asks while the server is restarted waits, and is not refused.
    systemd.sockets.${unit} = {
      description = "cc-ci: where the pages are asked for";
      wantedBy = [ "sockets.target" ];
      socketConfig = {
        ListenStream = cfg.settings.web.listen or "127.0.0.1:8080";
        # An answer that is on its way is on its way at once.
        NoDelay = true;
      };
    };

    systemd.services.${unit} = {
      description = "cc-ci: intake, reports and pages";
      wantedBy = [ "multi-user.target" ];
      wants = [ "network-online.target" ];
      after = [
        "network-online.target"
        "systemd-tmpfiles-setup.service"
      ];
      serviceConfig = hardening // {
        Type = "notify";
        # Of a process that hangs; one that works says so three times in this time.
        WatchdogSec = 60;
        # Memory holds secrets.
        LimitCORE = 0;
        ExecStart = "${lib.getExe cfg.package} serve --config ${cfg.configFiles.server}";
        User = "cc-ci-server";
        Group = "cc-ci";
        # The runner writes what the server makes, and the other way round.
        UMask = "0007";
        Restart = "always";
        RestartSec = 1;
        TimeoutStopSec = 20;
        LoadCredential = [
          "forge-token:${toString cfg.credentials.forge-token}"
        ]
        ++ lib.optional hasHook "webhook-secret:${cfg.credentials.webhook-secret}";

        ReadWritePaths = [ cfg.stateDir ];
        # Users but its own are nobody, so membership in no group of the host helps: Docker's socket stays shut.
        PrivateUsers = true;
        # It starts no program, so it needs no namespaces, no control groups, no writable code, no /proc but processes.
        RestrictNamespaces = true;
        ProtectControlGroups = true;
        MemoryDenyWriteExecute = true;
        ProcSubset = "pid";
        RestrictAddressFamilies = [
          "AF_UNIX"
          "AF_INET"
          "AF_INET6"
        ];
        SystemCallFilter = [
          "@system-service"
          "~@privileged @resources"
        ];
        # Beside the rules: what is not there cannot be opened.
        InaccessiblePaths = [ "-/run/docker.sock" ];
      };
    };
  };
}

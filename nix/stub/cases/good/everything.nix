# Every option with something else than its default, and settings of every depth.
{ lib, ... }:
{
  imports = [ ./minimal.nix ];

  services.cc-ci = {
    stateDir = "/srv/cc-ci";
    recipes.notes = "${builtins.storeDir}/00000000000000000000000000000000-notes";
    openFirewall = false;
    browser.enable = false;
    backup = {
      enable = true;
      directory = "/srv/copies";
      keep = 7;
      startAt = "hourly";
    };
    monitoring.enable = true;
    notify = {
      board = {
        settings.webhook.url = "https://board.example.org/ci";
        secretFile = "/run/secrets/board";
      };
      room = {
        settings.matrix = {
          homeserver = "https://matrix.example.org";
          room = "!abcdef:example.org";
        };
        secretFile = "/run/secrets/matrix";
      };
      ops.settings.mail = {
        server = "localhost";
        tls = "none";
        from = "ci@example.org";
        to = [ "ops@example.org" ];
      };
    };
    registryCache = {
      enable = true;
      port = 5001;
      upstream = "https://registry.example.org";
    };
    swarm.addressPools = [
      {
        base = "172.31.0.0/16";
        size = 26;
      }
    ];
    secrets = {
      recoveryKeyFile = "/root/recovery-key.txt";
      keys.git-token = "forge/token";
      keys.webhook-secret = "forge/token";
      keys.registry-login = "forge/token";
    };
    settings = {
      forge = {
        allow = [ "bea" ];
        enrol.except = [ "traefik" ];
        poll.interval = "10s";
        status_context = "ci/test";
      };
      web.listen = "0.0.0.0:8080";
      web.url = "https://status.ci.example.org";
      runner = {
        parallel = 2;
        limits.run = "1h30m";
        limits.teardown = "5m";
      };
      schedule = {
        cron = "30 1 * * 1-5";
        quiet = [ "07:00-19:00" ];
      };
      proxy.http_port = 8081;
      proxy.address = "127.0.0.1:8443";
      report.verdict = lib.mkForce "edit";
      logs.run_bytes = 1048576;
    };
  };
}

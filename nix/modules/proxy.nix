# Traefik in front of the apps, with the wildcard certificate. A new certificate is a changed secret and a switch.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.services.cc-ci;
  reconcile = import ../lib/reconcile.nix { inherit config lib pkgs; };
in
{
  imports = [
    ./base.nix
    ./runner.nix
    ./swarm.nix
  ];

  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion = cfg.credentials.certificate != null && cfg.credentials.certificate-key != null;
        message = "The proxy has no wildcard certificate: set services.cc-ci.secretsFile to the encrypted file that holds it, or services.cc-ci.credentials.certificate and services.cc-ci.credentials.certificate-key to files on the host.";
      }
    ];

    systemd = reconcile {
      what = "proxy";
      description = "cc-ci: Traefik in front of the apps";
      after = [ "cc-ci-swarm.service" ];
    };
  };
}

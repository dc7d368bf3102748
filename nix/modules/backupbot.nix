# The service that backs up test apps, so that backup and restore are part of each run. Where the Swarm has one already,
# `cc-ci reconcile backupbot` leaves it at that.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.services.cc-ci;
  reconcile = import ../lib/reconcile.nix { inherit config lib pkgs; };
  name = "cc-ci-backupbot";
  tag = cfg.package.version or "1";
  # restic, and a word for the program that cc-ci binds into the container; its libraries come with the package.
  image = pkgs.dockerTools.buildImage {
    inherit name tag;
    copyToRoot = pkgs.buildEnv {
      name = "${name}-root";
      paths = [
        pkgs.restic
        pkgs.busybox
        cfg.package
        (pkgs.writeShellScriptBin "backup" ''exec /usr/local/bin/cc-ci backup-bot "$@"'')
      ];
      pathsToLink = [ "/bin" ];
    };
    extraCommands = "mkdir -p usr tmp && ln -s ../bin usr/bin";
    config = {
      Entrypoint = [
        "/usr/bin/backup"
        "serve"
      ];
      Env = [
        "PATH=/bin"
        "RESTIC_REPOSITORY=/backups/restic"
        "RESTIC_PASSWORD_FILE=/run/secrets/restic_password"
      ];
      Volumes."/backups" = { };
    };
  };
in
{
  imports = [
    ./base.nix
    ./runner.nix
    ./swarm.nix
  ];

  options.services.cc-ci.backupbot.enable = lib.mkOption {
    type = lib.types.bool;
    default = true;
    description = "Whether test apps can be backed up. Without it that stage of a run is not tested, and says so.";
  };

  config = lib.mkIf (cfg.enable && cfg.backupbot.enable) {
    services.cc-ci.settings.backup.image = lib.mkDefault "${name}:${tag}";

    systemd = lib.mkMerge [
      (reconcile {
        what = "backupbot";
        description = "cc-ci: the backup service of test apps";
        after = [ "cc-ci-swarm.service" ];
        load = image;
      })
      # Wants, never requires, as with the others.
      {
        services.cc-ci-runner = {
          wants = [ "cc-ci-backupbot.service" ];
          after = [ "cc-ci-backupbot.service" ];
        };
      }
    ];
  };
}

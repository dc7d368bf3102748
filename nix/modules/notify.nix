# Who hears that a recipe turned red or is green again, and of alarms, elsewhere than on the forge. The server alone gets the
# secrets for it.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.services.cc-ci;
  yaml = pkgs.formats.yaml { };
  # What each way calls the file with its secret.
  secretOf = {
    webhook = "secret_file";
    matrix = "token_file";
    mail = "password_file";
  };
  # `fileOf` says where a process finds the secret of a target.
  targets =
    fileOf:
    lib.mapAttrsToList (
      name: target:
      {
        inherit name;
      }
      // lib.mapAttrs (
        way: settings:
        settings
        // lib.optionalAttrs (target.secretFile != null && secretOf ? ${way}) {
          ${secretOf.${way}} = fileOf name target;
        }
      ) target.settings
    ) cfg.notify;
  secret = lib.filterAttrs (_: target: target.secretFile != null) cfg.notify;
  inStore = lib.filterAttrs (_: target: lib.hasPrefix builtins.storeDir target.secretFile) secret;
in
{
  imports = [
    ./base.nix
    ./server.nix
  ];

  options.services.cc-ci.notify = lib.mkOption {
    default = { };
    example = {
      room = {
        settings.matrix = {
          homeserver = "https://matrix.example.org";
          room = "!abcdef:example.org";
        };
        secretFile = "/run/secrets/matrix-token";
      };
    };
    description = ''
      Who is notified when a recipe turns red or is green again, and of alarms, by name. `settings` holds one of `webhook`,
      `matrix` and `mail` with the keys of the configuration file's `notify`; `secretFile` is the file on the host with its
      secret, token or password. `cc-ci notify test` tries them.
    '';
    type = lib.types.attrsOf (
      lib.types.submodule {
        options = {
          settings = lib.mkOption {
            type = lib.types.submodule { freeformType = yaml.type; };
            description = "One of `webhook`, `matrix` and `mail`, without the file of its secret.";
          };
          secretFile = lib.mkOption {
            type = lib.types.nullOr (lib.types.strMatching "/.+");
            default = null;
            description = "File on the host with the webhook's secret, the token or the password.";
          };
        };
      }
    );
  };

  config = lib.mkIf (cfg.enable && cfg.notify != { }) {
    assertions = [
      {
        assertion = !(cfg.settings ? notify);
        message = "services.cc-ci.settings.notify and services.cc-ci.notify are two ways to say one thing: leave the first out.";
      }
      {
        assertion = inStore == { };
        message = "The Nix store can be read by everybody, and services.cc-ci.notify has files in it (${lib.concatStringsSep ", " (lib.attrNames inStore)}): name paths on the host.";
      }
    ];

    services.cc-ci.configurations.server.notify = targets (
      name: _: "/run/credentials/cc-ci-server.service/notify-${name}"
    );
    services.cc-ci.configurations.host.notify = targets (_: target: target.secretFile);
    systemd.services.cc-ci-server.serviceConfig.LoadCredential = lib.mapAttrsToList (
      name: target: "notify-${name}:${target.secretFile}"
    ) secret;
  };
}

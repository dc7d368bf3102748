# One encrypted file holds every secret; sops-nix opens it on the host. Whoever gets a secret is restarted when it changes,
# but the runner, which is told to finish first.
{ config, lib, ... }:
let
  cfg = config.services.cc-ci;
  keys = lib.filterAttrs (_: key: key != null) cfg.secrets.keys;
  unitsOf = {
    forge-token = [
      "cc-ci-server.service"
    ]
    ++ lib.optional (cfg.secrets.keys.git-token == null) "cc-ci-runner-renew.service";
    git-token = [ "cc-ci-runner-renew.service" ];
    webhook-secret = [ "cc-ci-server.service" ];
    registry-login = [
      "cc-ci-runner-renew.service"
      "cc-ci-proxy.service"
    ];
    certificate = [ "cc-ci-proxy.service" ];
    certificate-key = [ "cc-ci-proxy.service" ];
  };
  # sops-nix puts a secret where its name says, and Docker's programs look for this one under no other.
  secretOf = name: "cc-ci/${if name == "registry-login" then "registry/config.json" else name}";
  key =
    default: what:
    lib.mkOption {
      type = lib.types.nullOr (lib.types.strMatching "[^/]+(/[^/]+)*");
      inherit default;
      description = "Where ${what} stands in `secretsFile`; a slash goes one level down. `null`: it is not there.";
    };
in
{
  imports = [ ./base.nix ];

  options.services.cc-ci = {
    secretsFile = lib.mkOption {
      type = lib.types.nullOr lib.types.path;
      default = null;
      example = lib.literalExpression "./secrets/secrets.yaml";
      description = "File encrypted with sops that holds the bot's token and the wildcard certificate with its key. It has to be committed: a flake sees no other files.";
    };

    secrets = {
      keys = {
        forge-token = key "forge/token" "the bot's token";
        git-token = key null "a token for the runner that may only read";
        webhook-secret = key null "the secret that the forge signs its webhooks with";
        registry-login = key null "logins to registries, as `docker login` writes them";
        certificate = key "wildcard/certificate" "the wildcard certificate";
        certificate-key = key "wildcard/key" "the certificate's key";
      };

      hostKey = lib.mkOption {
        type = lib.types.path;
        default = "/etc/ssh/ssh_host_ed25519_key";
        description = "The host's ssh key; the file is encrypted to its age form.";
      };

      recoveryKeyFile = lib.mkOption {
        type = lib.types.nullOr (lib.types.strMatching "/.+");
        default = null;
        example = "/root/recovery-key.txt";
        description = ''
          File on the host with the age key for a rebuilt machine, whose ssh key the secrets are not encrypted to yet.
          Where it is set it has to be there, or the switch fails.
        '';
      };
    };
  };

  config = lib.mkIf (cfg.enable && cfg.secretsFile != null) {
    assertions = [
      {
        assertion =
          cfg.secrets.recoveryKeyFile == null || !lib.hasPrefix builtins.storeDir cfg.secrets.recoveryKeyFile;
        message = "The Nix store can be read by everybody: set services.cc-ci.secrets.recoveryKeyFile to a path on the host, such as \"/root/recovery-key.txt\".";
      }
    ];

    sops = {
      age.sshKeyPaths = lib.mkDefault [ cfg.secrets.hostKey ];
      age.keyFile = lib.mkIf (cfg.secrets.recoveryKeyFile != null) cfg.secrets.recoveryKeyFile;
      # By itself sops-nix would try the host's RSA key with GnuPG.
      gnupg.sshKeyPaths = lib.mkDefault [ ];
      secrets = lib.mapAttrs' (
        name: key:
        lib.nameValuePair (secretOf name) {
          sopsFile = cfg.secretsFile;
          inherit key;
          restartUnits = unitsOf.${name};
        }
      ) keys;
    };

    services.cc-ci.credentials = lib.mapAttrs (
      name: _: lib.mkDefault config.sops.secrets.${secretOf name}.path
    ) keys;
  };
}

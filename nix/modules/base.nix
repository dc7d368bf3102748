# What every part stands on: the settings and the files made of them, two users with one group, one state directory.
#
# Each process has a configuration of its own, made from the same settings: it names only the secrets which that process gets.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.services.cc-ci;
  yaml = pkgs.formats.yaml { };

  # `cc-ci check-config` is asked while the system is built, so that what it refuses never gets as far as a switch.
  checked =
    process: settings:
    let
      file = yaml.generate "cc-ci-${process}.yaml" settings;
    in
    pkgs.runCommand "cc-ci-${process}-checked.yaml" { } ''
      ${lib.getExe cfg.package} check-config --without-secrets ${file}
      cp ${file} $out
    '';

  secretSettings = {
    "forge.token_file" = "forge-token";
    "forge.webhook.secret_file" = "webhook-secret";
    "runner.git_token_file" = "git-token";
    "runner.registry_login_file" = "registry-login";
    "proxy.certificate_file" = "certificate";
    "proxy.key_file" = "certificate-key";
  };
  setInSettings = lib.filter (key: lib.hasAttrByPath (lib.splitString "." key) cfg.settings) (
    lib.attrNames secretSettings
  );

  credential =
    what:
    lib.mkOption {
      type = lib.types.nullOr (lib.types.strMatching "/.+");
      default = null;
      example = "/run/agenix/cc-ci";
      description = "File on the host with ${what}. Comes from `secretsFile` where that is set.";
    };
  inStore = lib.filterAttrs (
    _: path: path != null && lib.hasPrefix builtins.storeDir path
  ) cfg.credentials;
in
{
  options.services.cc-ci = {
    enable = lib.mkEnableOption "cc-ci, which tests pull requests of Co-op Cloud recipes";

    package = lib.mkPackageOption pkgs "cc-ci" { };

    domain = lib.mkOption {
      type = lib.types.nullOr (lib.types.strMatching "[a-z0-9]([a-z0-9.-]*[a-z0-9])?");
      default = null;
      example = "ci.example.org";
      description = "Apps live under `*.<domain>`: DNS points there, and the wildcard certificate is for it.";
    };

    forge.url = lib.mkOption {
      type = lib.types.nullOr (lib.types.strMatching "https?://[^/@]+(/.*)?");
      default = null;
      example = "https://git.example.org";
      description = "Address of the Gitea or Forgejo that the recipes live on, sub-path included.";
    };

    forge.organisation = lib.mkOption {
      type = lib.types.nullOr (lib.types.strMatching "[A-Za-z0-9._-]+");
      default = null;
      example = "recipes";
      description = "Organisation whose repositories are tested, and whose members may ask for it.";
    };

    stateDir = lib.mkOption {
      type = lib.types.strMatching "/.+";
      default = "/var/lib/cc-ci";
      description = "Database, logs and work directories.";
    };

    settings = lib.mkOption {
      type = lib.types.submodule { freeformType = yaml.type; };
      default = { };
      example = {
        forge.poll.interval = "10s";
        runner.parallel = 2;
        web.url = "https://status.ci.example.org";
      };
      description = ''
        Everything else of cc-ci's configuration file, by the file's own keys. `cc-ci check-config` judges it when the
        system is built. Secrets are not set here but by `secretsFile` or `credentials`.
      '';
    };

    credentials = {
      forge-token = credential "the bot's token";
      git-token = credential "a token that may only read, for the runner; it gets the bot's own where there is none";
      webhook-secret = credential "the secret that the forge signs its webhooks with; without it there is no `/hook`";
      registry-login = credential "logins to registries, as `docker login` writes them" // {
        # Docker's own programs read it under no other name.
        type = lib.types.nullOr (lib.types.strMatching "/.+/config[.]json");
        example = "/run/agenix/cc-ci-registry/config.json";
      };
      certificate = credential "the wildcard certificate in PEM, its chain after it";
      certificate-key = credential "the certificate's key in PEM";
    };

    configurations = lib.mkOption {
      type = lib.types.attrsOf yaml.type;
      default = { };
      internal = true;
      description = "What each process is configured with, before it is written.";
    };

    configFiles = lib.mkOption {
      type = lib.types.attrsOf lib.types.package;
      internal = true;
      readOnly = true;
      default = lib.mapAttrs checked cfg.configurations;
      defaultText = lib.literalMD "`configurations`, written and checked";
      description = "The configuration file of each process.";
    };
  };

  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion = cfg.domain != null;
        message = "cc-ci does not know under which domain apps live: set services.cc-ci.domain, for example \"ci.example.org\".";
      }
      {
        assertion = cfg.forge.url != null;
        message = "cc-ci does not know the forge: set services.cc-ci.forge.url, for example \"https://git.example.org\".";
      }
      {
        assertion = cfg.forge.organisation != null;
        message = "cc-ci does not know whose recipes it tests: set services.cc-ci.forge.organisation, for example \"recipes\".";
      }
      {
        assertion = cfg.credentials.forge-token != null;
        message = "cc-ci has no token for the forge: set services.cc-ci.secretsFile to the encrypted file that holds it, or services.cc-ci.credentials.forge-token to a file on the host.";
      }
      {
        assertion = setInSettings == [ ];
        message = "Secrets do not belong into services.cc-ci.settings (${lib.concatStringsSep ", " setInSettings}): set ${
          lib.concatMapStringsSep ", " (
            key: "services.cc-ci.credentials.${secretSettings.${key}}"
          ) setInSettings
        } instead.";
      }
      {
        assertion = inStore == { };
        message = "The Nix store can be read by everybody, and services.cc-ci.credentials has files in it (${lib.concatStringsSep ", " (lib.attrNames inStore)}): name paths on the host, or use services.cc-ci.secretsFile.";
      }
    ];

    services.cc-ci.settings = {
      domain = lib.mkIf (cfg.domain != null) cfg.domain;
      state_dir = cfg.stateDir;
      forge.url = lib.mkIf (cfg.forge.url != null) cfg.forge.url;
      forge.organisation = lib.mkIf (cfg.forge.organisation != null) cfg.forge.organisation;
    };

    # For people at the command line, as root: every secret is where the host has it.
    services.cc-ci.configurations.host = lib.foldl' lib.recursiveUpdate cfg.settings (
      lib.mapAttrsToList (
        key: name:
        lib.optionalAttrs (cfg.credentials.${name} != null) (
          lib.setAttrByPath (lib.splitString "." key) cfg.credentials.${name}
        )
      ) secretSettings
    );
    environment.etc."cc-ci/config.yaml".source = cfg.configFiles.host;
    environment.systemPackages = [ cfg.package ];

    users.groups.cc-ci = { };
    users.users = lib.genAttrs [ "cc-ci-server" "cc-ci-runner" ] (name: {
      isSystemUser = true;
      group = "cc-ci";
      description = "cc-ci's ${lib.removePrefix "cc-ci-" name}";
    });

    # Whoever makes a file in here, its group is cc-ci. SQLite gives what it puts beside the database the database's own mode,
    # so the database is there before either process is.
    systemd.tmpfiles.settings."10-cc-ci" = {
      ${cfg.stateDir}.d = {
        mode = "2770";
        user = "root";
        group = "cc-ci";
      };
      "${cfg.stateDir}/cc-ci.db".f = {
        mode = "0660";
        user = "root";
        group = "cc-ci";
      };
    };
  };
}

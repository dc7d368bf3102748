# A registry on this machine that keeps what it fetched from Docker Hub, so that many runs are one pull there.
{ config, lib, ... }:
let
  cfg = config.services.cc-ci;
  cache = cfg.registryCache;
in
{
  imports = [ ./base.nix ];

  options.services.cc-ci.registryCache = {
    enable = lib.mkEnableOption "a cache of Docker Hub on this machine, against its limits on pulls";

    port = lib.mkOption {
      type = lib.types.port;
      default = 5000;
      description = "Where it listens, on the loopback address.";
    };

    upstream = lib.mkOption {
      type = lib.types.strMatching "https?://.+";
      default = "https://registry-1.docker.io";
      description = "The registry behind it.";
    };
  };

  config = lib.mkIf (cfg.enable && cache.enable) {
    services.dockerRegistry = {
      enable = true;
      listenAddress = "127.0.0.1";
      inherit (cache) port;
      # What was not asked for in a week goes.
      enableDelete = true;
      extraConfig.proxy.remoteurl = cache.upstream;
    };
    virtualisation.docker.daemon.settings.registry-mirrors = [
      "http://127.0.0.1:${toString cache.port}"
    ];
  };
}

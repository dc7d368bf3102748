# cc-ci watched by this machine's own Prometheus. One that is elsewhere asks `/metrics` too, and takes the same rules.
{ config, lib, ... }:
let
  cfg = config.services.cc-ci;
  rules = ../monitoring/alerts.yaml;
in
{
  imports = [ ./base.nix ];

  options.services.cc-ci.monitoring.enable =
    lib.mkEnableOption "a Prometheus on this machine that watches cc-ci, with rules for its alarms";

  config = lib.mkIf (cfg.enable && cfg.monitoring.enable) {
    services.prometheus = {
      enable = true;
      listenAddress = lib.mkDefault "127.0.0.1";
      scrapeConfigs = [
        {
          job_name = "cc-ci";
          static_configs = [ { targets = [ (cfg.settings.web.listen or "127.0.0.1:8080") ]; } ];
        }
      ];
      ruleFiles = [ rules ];
    };
  };
}

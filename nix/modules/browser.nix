# Chromium, for checks of recipes that look at pages. It runs in a cage without any network but the app's.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.services.cc-ci;
in
{
  imports = [ ./runner.nix ];

  options.services.cc-ci.browser.enable = lib.mkOption {
    type = lib.types.bool;
    default = true;
    description = "Whether checks of recipes may use a browser. Without one such a check is not tested, and says so.";
  };

  config = lib.mkIf (cfg.enable && cfg.browser.enable) {
    systemd.services.cc-ci-runner = {
      path = [
        pkgs.chromium
        pkgs.chromedriver
      ];
      # Its scripts are compiled as they run, which takes memory that is written first and executed afterwards.
      serviceConfig.MemoryDenyWriteExecute = lib.mkForce false;
    };
  };
}

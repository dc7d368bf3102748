# The proxy's two ports, and nothing else. Docker opens ports that a container publishes whatever is said here, which is why
# the policy lets no recipe publish any.
{ config, lib, ... }:
let
  cfg = config.services.cc-ci;
  https = lib.toInt (lib.last (lib.splitString ":" (cfg.settings.proxy.address or "127.0.0.1:443")));
in
{
  imports = [ ./base.nix ];

  options.services.cc-ci.openFirewall = lib.mkOption {
    type = lib.types.bool;
    default = true;
    description = "Whether the proxy's ports are open: 80 and 443, unless `settings.proxy` says otherwise.";
  };

  config = lib.mkIf (cfg.enable && cfg.openFirewall) {
    networking.firewall.allowedTCPPorts = [
      (cfg.settings.proxy.http_port or 80)
      https
    ];
  };
}

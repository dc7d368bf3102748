# The operator has the last word, also deep inside of settings.
{ lib, ... }:
{
  imports = [ ./minimal.nix ];

  services.cc-ci.settings.forge.url = lib.mkForce "https://other.example.org";
  services.cc-ci.settings.runner.parallel = lib.mkMerge [
    (lib.mkDefault 3)
    (lib.mkIf false 4)
  ];
  virtualisation.docker.daemon.settings.log-opts.max-size = "5m";
}

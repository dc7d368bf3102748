# expected: services.cc-ci.settings.runner.limits.run' has conflicting definitions
{ lib, ... }:
{
  imports = [ ../good/minimal.nix ];

  services.cc-ci.settings = lib.mkMerge [
    { runner.limits.run = "1h"; }
    { runner.limits.run = "2h"; }
  ];
}

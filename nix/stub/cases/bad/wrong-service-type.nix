# expected: serviceConfig.Type' cannot be one-shot
{ lib, ... }:
{
  imports = [ ../good/minimal.nix ];

  systemd.services.cc-ci-server.serviceConfig.Type = lib.mkForce "one-shot";
}

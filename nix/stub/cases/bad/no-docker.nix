# expected: leave virtualisation.docker.enable at true
{ lib, ... }:
{
  imports = [ ../good/minimal.nix ];

  virtualisation.docker.enable = lib.mkForce false;
}

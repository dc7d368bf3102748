# expected: set virtualisation.docker.daemon.settings.live-restore = false
{ lib, ... }:
{
  imports = [ ../good/minimal.nix ];

  virtualisation.docker.daemon.settings.live-restore = lib.mkForce true;
}

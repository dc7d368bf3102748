# expected: set services.cc-ci.forge.organisation, for example
{ lib, ... }:
{
  imports = [ ../good/minimal.nix ];

  services.cc-ci.forge.organisation = lib.mkForce null;
}

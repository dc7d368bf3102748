# expected: set services.cc-ci.forge.url, for example
{ lib, ... }:
{
  imports = [ ../good/minimal.nix ];

  services.cc-ci.forge.url = lib.mkForce null;
}

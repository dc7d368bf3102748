# expected: set services.cc-ci.domain, for example
{ lib, ... }:
{
  imports = [ ../good/minimal.nix ];

  services.cc-ci.domain = lib.mkForce null;
}

# expected: services.cc-ci.domain' is not of type
{ lib, ... }:
{
  imports = [ ../good/minimal.nix ];

  services.cc-ci.domain = lib.mkForce "https://ci.example.org";
}

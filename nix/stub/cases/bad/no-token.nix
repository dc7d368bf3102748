# expected: cc-ci has no token for the forge: set services.cc-ci.secretsFile
{ lib, ... }:
{
  imports = [ ../good/minimal.nix ];

  services.cc-ci.secretsFile = lib.mkForce null;
}

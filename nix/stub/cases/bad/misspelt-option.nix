# expected: services.cc-ci.organization' does not exist
{
  imports = [ ../good/minimal.nix ];

  services.cc-ci.organization = "recipes";
}

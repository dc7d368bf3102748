# expected: services.cc-ci.configFiles' is read-only
{
  imports = [ ../good/minimal.nix ];

  services.cc-ci.configFiles = { };
}

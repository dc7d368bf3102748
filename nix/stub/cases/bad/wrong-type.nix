# expected: services.cc-ci.registryCache.port' is not of type
{
  imports = [ ../good/minimal.nix ];

  services.cc-ci.registryCache.port = 99999;
}

# expected: services.cc-ci.credentials has files in it (forge-token)
{
  imports = [ ../good/minimal.nix ];

  services.cc-ci.credentials.forge-token = "${builtins.storeDir}/token";
}

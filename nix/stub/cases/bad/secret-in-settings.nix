# expected: do not belong into services.cc-ci.settings (forge.token_file): set services.cc-ci.credentials.forge-token instead
{
  imports = [ ../good/minimal.nix ];

  services.cc-ci.settings.forge.token_file = "/root/token";
}

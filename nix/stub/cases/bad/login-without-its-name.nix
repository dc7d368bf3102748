# expected: /run/login
# Docker's programs would look for config.json, find nothing, and pull as nobody.
{
  imports = [ ../good/minimal.nix ];
  services.cc-ci.credentials.registry-login = "/run/login";
}

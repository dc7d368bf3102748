# expected: services.cc-ci.settings.web.url' is not of type
{
  imports = [ ../good/minimal.nix ];

  services.cc-ci.settings.web.url = x: x;
}

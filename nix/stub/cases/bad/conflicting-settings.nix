# expected: services.cc-ci.settings.domain' has conflicting definitions
{
  imports = [ ../good/minimal.nix ];

  services.cc-ci.settings.domain = "other.example.org";
}

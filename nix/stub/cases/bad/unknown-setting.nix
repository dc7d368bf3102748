# expected: check-config: unknown key `organization`
{
  imports = [ ../good/minimal.nix ];

  services.cc-ci.settings.forge.organization = "recipes";
}

# expected: check-config: needs a unit
{
  imports = [ ../good/minimal.nix ];

  services.cc-ci.settings.forge.poll.interval = "30";
}

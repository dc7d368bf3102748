# expected: `an hour' is not a span of time
{
  imports = [ ../good/minimal.nix ];

  services.cc-ci.settings.runner.limits.teardown = "an hour";
}

# expected: check-config: `runner.parallel` is 0
{
  imports = [ ../good/minimal.nix ];

  services.cc-ci.settings.runner.parallel = 0;
}

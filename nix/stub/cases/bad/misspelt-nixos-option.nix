# expected: virtualisation.docker.autoPrun' does not exist
{
  imports = [ ../good/minimal.nix ];

  virtualisation.docker.autoPrun.enable = true;
}

# expected: take --all out of virtualisation.docker.autoPrune.flags
{
  imports = [ ../good/minimal.nix ];

  virtualisation.docker.autoPrune = {
    enable = true;
    flags = [ "--all" ];
  };
}

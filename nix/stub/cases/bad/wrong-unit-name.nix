# expected: systemd.services.cc-ci-server.after
{
  imports = [ ../good/minimal.nix ];

  systemd.services.cc-ci-server.after = [ "docker" ];
}

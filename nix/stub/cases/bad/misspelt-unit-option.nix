# expected: systemd.services.cc-ci-server.wantedby' does not exist
{
  imports = [ ../good/minimal.nix ];

  systemd.services.cc-ci-server.wantedby = [ "multi-user.target" ];
}

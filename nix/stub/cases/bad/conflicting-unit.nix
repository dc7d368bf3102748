# expected: serviceConfig.User' has conflicting definitions
{
  imports = [ ../good/minimal.nix ];

  systemd.services.cc-ci-server.serviceConfig.User = "root";
}

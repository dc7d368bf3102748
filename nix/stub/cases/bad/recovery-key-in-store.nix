# expected: set services.cc-ci.secrets.recoveryKeyFile to a path on the host
{
  imports = [ ../good/minimal.nix ];

  services.cc-ci.secrets.recoveryKeyFile = "${builtins.storeDir}/key.txt";
}

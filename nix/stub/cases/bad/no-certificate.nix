# expected: The proxy has no wildcard certificate: set services.cc-ci.secretsFile
{
  imports = [ ../good/minimal.nix ];

  services.cc-ci.secrets.keys.certificate-key = null;
}

# Secrets from elsewhere: nothing of sops is asked for.
{
  imports = [ ../machine.nix ];

  services.cc-ci = {
    enable = true;
    domain = "ci.example.org";
    forge = {
      url = "http://git.example.org/forge";
      organisation = "recipes";
    };
    credentials = {
      forge-token = "/run/agenix/forge-token";
      certificate = "/run/agenix/certificate";
      certificate-key = "/run/agenix/certificate-key";
    };
  };
}

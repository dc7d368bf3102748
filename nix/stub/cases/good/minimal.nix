# The four lines of the manual, on a machine that is there.
{
  imports = [ ../machine.nix ];

  services.cc-ci = {
    enable = true;
    domain = "ci.example.org";
    forge = {
      url = "https://git.example.org";
      organisation = "recipes";
    };
    secretsFile = ../../../../secrets/example.yaml;
  };
}

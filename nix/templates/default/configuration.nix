# The whole of it. docs/options.md has the rest.
{
  services.cc-ci = {
    enable = true;
    domain = "ci.example.org"; # apps live under *.ci.example.org
    forge = {
      url = "https://git.example.org";
      organisation = "recipes";
    };
    secretsFile = ./secrets/secrets.yaml; # the bot's token, the wildcard certificate and its key
  };

  networking.hostName = "cc-ci";
  services.openssh = {
    enable = true;
    settings.PasswordAuthentication = false;
  };
  users.users.root.openssh.authorizedKeys.keys = [
    # Yours: without one nobody gets in.
  ];
  system.stateVersion = "26.05";
}

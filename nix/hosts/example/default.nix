# An example of a whole machine: what it says of cc-ci is all there is to say. Its secrets are encrypted to published keys, so
# take the template for a machine of your own: `nix flake init --template`.
{
  imports = [ ./hardware.nix ];

  services.cc-ci = {
    enable = true;
    domain = "ci.example.org";
    forge = {
      url = "https://git.example.org";
      organisation = "recipes";
    };
    secretsFile = ../../../secrets/example.yaml;
  };

  networking.hostName = "cc-ci";
  services.openssh = {
    enable = true;
    settings.PasswordAuthentication = false;
  };
  users.users.operator = {
    isNormalUser = true;
    description = "Looks after this machine";
    # cc-ci: reads runs and their logs. Whoever is in docker is root.
    extraGroups = [
      "wheel"
      "cc-ci"
    ];
  };

  nix.settings.experimental-features = [
    "nix-command"
    "flakes"
  ];
  time.timeZone = "UTC";
  system.stateVersion = "26.05";
}

# expected: services.cc-ci.notify has files in it (room): name paths on the host
{
  imports = [ ../good/minimal.nix ];

  services.cc-ci.notify.room = {
    settings.matrix = {
      homeserver = "https://matrix.example.org";
      room = "!abcdef:example.org";
    };
    secretFile = "${builtins.storeDir}/0000-token";
  };
}

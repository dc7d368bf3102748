# expected: services.cc-ci.settings.notify and services.cc-ci.notify are two ways to say one thing
{
  imports = [ ../good/minimal.nix ];

  services.cc-ci = {
    settings.notify = [ { name = "board"; } ];
    notify.board = {
      settings.webhook.url = "https://board.example.org/ci";
      secretFile = "/run/secrets/board";
    };
  };
}

# The whole appliance: one file a concern, each with its options beside what they do.
{
  imports = [
    ./base.nix
    ./server.nix
    ./runner.nix
    ./recipes.nix
    ./browser.nix
    ./swarm.nix
    ./proxy.nix
    ./backupbot.nix
    ./backup.nix
    ./monitoring.nix
    ./notify.nix
    ./secrets.nix
    ./registry-cache.nix
    ./firewall.nix
  ];
}

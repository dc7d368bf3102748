# A member writes `!testme` on a pull request, and the whole appliance answers green: forge, server, runner, Swarm, Traefik and the
# real abra.
{ pkgs, ... }:
{
  name = "cc-ci-appliance";
  nodes.machine = {
    imports = [ (import ./lib/appliance.nix { inherit pkgs; }) ];
  };
  testScript = builtins.readFile ./lib/forge.py + ''
    world()
    machine.wait_for_unit("cc-ci-proxy.service")
    machine.wait_for_unit("cc-ci-runner.service")
    ask()
    hears("Passed")
    machine.succeed("test -z \"$(docker stack ls --format '{{.Name}}' | grep -v proxy)\"")
  '';
}

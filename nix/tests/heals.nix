# A proxy that somebody removed by hand is back after the timer's next tick, without a switch.
{ pkgs, ... }:
{
  name = "cc-ci-heals";
  nodes.machine = {
    imports = [ (import ./lib/appliance.nix { inherit pkgs; }) ];
  };
  testScript = ''
    machine.wait_for_unit("cc-ci-proxy.service")
    machine.succeed("docker stack rm $(docker stack ls --format '{{.Name}}' | grep proxy)")
    machine.wait_until_succeeds("test -z \"$(docker ps -q)\"")
    machine.succeed("systemctl is-active cc-ci-proxy-heal.timer")
    machine.succeed("systemctl start cc-ci-proxy-heal.service")
    machine.succeed("curl -ks -o /dev/null https://127.0.0.1/")
    # And a second time there is nothing to do.
    machine.succeed("systemctl start cc-ci-proxy-heal.service")
    machine.succeed("journalctl -u cc-ci-proxy-heal.service -n 3 | grep -q 'runs as it should'")
  '';
}

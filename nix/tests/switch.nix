# `nixos-rebuild switch` in the middle of a run: the server restarts, the run goes on to its end, and only then does the runner make
# room for the new one.
{ pkgs, ... }:
{
  name = "cc-ci-switch";
  nodes.machine = {
    imports = [ (import ./lib/appliance.nix { inherit pkgs; }) ];
    specialisation.changed.configuration = {
      services.cc-ci.settings.runner.parallel = 2;
    };
  };
  testScript = builtins.readFile ./lib/forge.py + ''
    def process(unit):
        return machine.succeed(f"systemctl show -P MainPID {unit}").strip()

    world(start="start_period: 30s, retries: 60")
    machine.wait_for_unit("cc-ci-proxy.service")
    machine.wait_for_unit("cc-ci-runner.service")
    server, runner = process("cc-ci-server"), process("cc-ci-runner")
    ask()
    machine.wait_until_succeeds("docker service ls --format '{{.Image}}' | grep -q page:test")
    machine.succeed("/run/current-system/specialisation/changed/bin/switch-to-configuration test")
    assert process("cc-ci-server") != server, "the server goes on with the old configuration"
    assert process("cc-ci-runner") == runner, "the switch ended the run"
    hears("Passed")
    machine.wait_until_succeeds(f"test $(systemctl show -P MainPID cc-ci-runner) -ne {runner}")
    machine.wait_for_unit("cc-ci-runner.service")
  '';
}

# A server that was taken over reaches neither Docker nor anybody's secrets but its own, and writes nothing but the state.
{ pkgs, ... }:
{
  name = "cc-ci-hardening";
  nodes.machine = {
    imports = [ (import ./lib/appliance.nix { inherit pkgs; }) ];
  };
  testScript = ''
    machine.wait_for_unit("cc-ci-server.service")
    machine.wait_for_unit("docker.service")
    inside = (
        "nsenter --target $(systemctl show -P MainPID cc-ci-server) --mount"
        " --setgid $(id -g cc-ci-server) --setuid $(id -u cc-ci-server) -- "
    )
    machine.succeed(inside + "test -w /var/lib/cc-ci/cc-ci.db")
    machine.succeed(inside + "test -r /run/credentials/cc-ci-server.service/forge-token")
    for path in ["/run/docker.sock", "/run/secrets/cc-ci/certificate-key", "/etc/ssh/ssh_host_ed25519_key"]:
        machine.fail(inside + f"test -r {path}")
    machine.fail(inside + "touch /etc/here")
    machine.succeed("systemd-analyze security --threshold=15 cc-ci-server.service")
    machine.succeed("systemd-analyze security --threshold=25 cc-ci-runner.service")
  '';
}

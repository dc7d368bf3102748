# A rebuilt machine has another ssh key, which nothing is encrypted to: with the recovery key in place the switch goes through.
{ pkgs, ... }:
{
  name = "cc-ci-recovery";
  nodes.machine =
    { lib, ... }:
    {
      imports = [ (import ./lib/appliance.nix { inherit pkgs; }) ];
      services.openssh.enable = true;
      services.cc-ci.enable = lib.mkForce false;
      services.cc-ci.secrets.hostKey = lib.mkForce "/etc/ssh/ssh_host_ed25519_key";
      environment.etc."test/recovery.txt".source = ./keys/recovery.txt;
      specialisation.rebuilt.configuration = {
        services.cc-ci.enable = lib.mkOverride 40 true;
        services.cc-ci.secrets.recoveryKeyFile = "/root/recovery-key.txt";
      };
    };
  testScript = ''
    machine.wait_for_unit("sshd.service")
    switch = "/run/current-system/specialisation/rebuilt/bin/switch-to-configuration test"
    machine.succeed("install -m 0600 /etc/test/recovery.txt /root/recovery-key.txt")
    machine.succeed(switch)
    machine.wait_for_unit("cc-ci-server.service")
    machine.succeed("test -s /run/secrets/cc-ci/certificate-key")
  '';
}

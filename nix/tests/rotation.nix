# A changed secret and a switch: the server gets the new token by itself, and whoever has the old one is nobody.
{ pkgs, ... }:
{
  name = "cc-ci-rotation";
  nodes.machine =
    { lib, ... }:
    {
      imports = [ (import ./lib/appliance.nix { inherit pkgs; }) ];
      specialisation.rotated.configuration = {
        services.cc-ci.secretsFile = lib.mkForce ./keys/rotated.yaml;
      };
    };
  testScript = ''
    def token():
        return machine.succeed("cat /run/credentials/cc-ci-server.service/forge-token").strip()

    machine.wait_for_unit("cc-ci-server.service")
    before = token()
    machine.succeed("/run/current-system/specialisation/rotated/bin/switch-to-configuration test")
    machine.wait_for_unit("cc-ci-server.service")
    assert token() != before, "the server still has the old token"
    machine.fail(f"grep -rqF {before} /run/credentials/cc-ci-server.service /run/secrets/cc-ci")
  '';
}

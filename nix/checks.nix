# `nix flake check`: what needs nixpkgs, a builder, and for the VM tests a machine with KVM. The checks that need none of these are
# in scripts/lib/nix.sh.
{
  lib,
  pkgs,
  appliance,
  example,
}:
let
  test =
    file:
    pkgs.testers.runNixOSTest {
      imports = [ (import file { inherit lib pkgs; }) ];
      defaults = {
        imports = [ appliance ];
        system.stateVersion = "26.05";
      };
      # The appliance brings its overlay.
      node.pkgsReadOnly = false;
    };
  rendered = import ./options-doc.nix {
    inherit lib;
    inherit (example) options;
  };
  # Built means accepted by `cc-ci check-config`.
  settings = lib.mapAttrs' (
    process: file: lib.nameValuePair "settings-${process}" file
  ) example.config.services.cc-ci.configFiles;
in
settings
// {
  package = pkgs.cc-ci;
  inherit (pkgs) abra;

  # Types are described in nixpkgs' words here, so the names are compared.
  options = pkgs.runCommand "cc-ci-options" { } ''
    grep '^## ' ${../docs/options.md} | cut -c 4- | diff - ${pkgs.writeText "names" (lib.concatLines rendered.names)}
    cp ${pkgs.writeText "options.md" rendered.markdown} $out
  '';

  vm-appliance = test ./tests/appliance.nix;
  vm-heals = test ./tests/heals.nix;
  vm-switch = test ./tests/switch.nix;
  vm-rotation = test ./tests/rotation.nix;
  vm-hardening = test ./tests/hardening.nix;
  vm-recovery = test ./tests/recovery.nix;
}

# The appliance: one NixOS machine that tests pull requests of Co-op Cloud recipes.
{
  description = "cc-ci: a CI appliance for Co-op Cloud recipes";

  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";
    sops-nix.url = "github:Mic92/sops-nix";
    sops-nix.inputs.nixpkgs.follows = "nixpkgs";
  };

  outputs =
    {
      self,
      nixpkgs,
      sops-nix,
    }:
    let
      inherit (nixpkgs) lib;
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      eachSystem =
        make: lib.genAttrs systems (system: make (nixpkgs.legacyPackages.${system}.extend overlay));
      overlay = import ./nix/overlay.nix;
      # Every module brings what it stands on, so that each can be taken by itself.
      module = path: {
        imports = [
          path
          sops-nix.nixosModules.sops
        ];
        nixpkgs.overlays = [ overlay ];
      };
    in
    {
      overlays.default = overlay;

      packages = eachSystem (pkgs: {
        inherit (pkgs) cc-ci abra;
        default = pkgs.cc-ci;
      });

      nixosModules = {
        default = module ./nix/modules;
        server = module ./nix/modules/server.nix;
        runner = module ./nix/modules/runner.nix;
        browser = module ./nix/modules/browser.nix;
        swarm = module ./nix/modules/swarm.nix;
        proxy = module ./nix/modules/proxy.nix;
        recipes = module ./nix/modules/recipes.nix;
        backupbot = module ./nix/modules/backupbot.nix;
        backup = module ./nix/modules/backup.nix;
        monitoring = module ./nix/modules/monitoring.nix;
        secrets = module ./nix/modules/secrets.nix;
        registry-cache = module ./nix/modules/registry-cache.nix;
        firewall = module ./nix/modules/firewall.nix;
      };

      nixosConfigurations.cc-ci = lib.nixosSystem {
        modules = [
          self.nixosModules.default
          ./nix/hosts/example
          { system.configurationRevision = self.rev or self.dirtyRev or null; }
        ];
      };

      templates.default = {
        path = ./nix/templates/default;
        description = "A machine of one's own that runs cc-ci, with its secrets encrypted beside it";
      };

      checks = eachSystem (
        pkgs:
        import ./nix/checks.nix {
          inherit lib pkgs;
          appliance = self.nixosModules.default;
          example = self.nixosConfigurations.cc-ci;
        }
      );

      devShells = eachSystem (pkgs: {
        default = pkgs.mkShell {
          inputsFrom = [ pkgs.cc-ci ];
          packages = [
            pkgs.clippy
            pkgs.rustfmt
            pkgs.nixfmt
            pkgs.deadnix
            pkgs.shellcheck
            pkgs.sops
            pkgs.age
          ];
        };
      });

      formatter = eachSystem (pkgs: pkgs.nixfmt);
    };
}

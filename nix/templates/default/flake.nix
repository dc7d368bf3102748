{
  description = "Our cc-ci";

  inputs = {
    # Where cc-ci is kept: git+https://…, github:…, or path:… for a clone beside this.
    cc-ci.url = "git+https://git.example.org/cc-ci/cc-ci";
    nixpkgs.follows = "cc-ci/nixpkgs";
  };

  outputs =
    { nixpkgs, cc-ci, ... }:
    {
      nixosConfigurations.cc-ci = nixpkgs.lib.nixosSystem {
        modules = [
          cc-ci.nixosModules.default
          ./hardware-configuration.nix
          ./configuration.nix
        ];
      };
    };
}

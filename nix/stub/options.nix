# The options page, by the stub evaluation.
let
  lib = import ./lib.nix;
in
(import ../options-doc.nix {
  inherit lib;
  inherit
    (lib.evalModules {
      specialArgs.pkgs = import ./pkgs.nix;
      modules = [
        ./schema.nix
        ../modules
      ];
    })
    options
    ;
}).markdown

# What cc-ci is told about recipes: what its package brings, and over that, recipe by recipe, what this machine's operator says.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.services.cc-ci;
  known = pkgs.runCommand "cc-ci-recipes" { } ''
    mkdir $out
    cp -r --no-preserve=mode ${cfg.package}/share/cc-ci/recipes/. $out/
    ${lib.concatStringsSep "" (
      lib.mapAttrsToList (name: path: ''
        rm -rf $out/${name}
        cp -r ${path} $out/${name}
      '') cfg.recipes
    )}
  '';
in
{
  imports = [ ./base.nix ];

  options.services.cc-ci.recipes = lib.mkOption {
    type = lib.types.attrsOf lib.types.path;
    default = { };
    example = lib.literalExpression "{ notes = ./recipes/notes; }";
    description = "Directories with `recipe.yaml` and `checks/`, by the recipe's name; each takes the place of the one that cc-ci brings.";
  };

  config = lib.mkIf cfg.enable {
    services.cc-ci.settings.recipes_dir = lib.mkDefault "${known}";
  };
}

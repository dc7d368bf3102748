# Adds cc-ci, and the abra it was made for: a later nixpkgs may have another one.
final: _prev: {
  abra = final.callPackage ./abra.nix { };
  cc-ci = final.callPackage ./package.nix { };
}

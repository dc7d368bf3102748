# The machine in the tree.
{ imports = [ ../../../hosts/example ]; }

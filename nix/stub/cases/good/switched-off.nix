# Imported and not enabled, it changes nothing.
{ imports = [ ../machine.nix ]; }

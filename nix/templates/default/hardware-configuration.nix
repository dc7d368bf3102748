# Put the machine's own here: `nixos-generate-config --show-hardware-config > hardware-configuration.nix`.
throw
  "hardware-configuration.nix is still the template's: replace it with the output of `nixos-generate-config --show-hardware-config`."

# docs/options.md, from the options as they are declared. Works on the real options and on the stub's alike; only how a type is
# described differs, which is why the flake's check compares names.
{ lib, options }:
let
  isOption = lib.isType "option";
  all =
    path: tree:
    lib.concatMap (
      name:
      let
        here = path ++ [ name ];
        below = tree.${name};
      in
      if isOption below then
        (
          if below.internal or false then
            [ ]
          else
            [
              {
                name = lib.concatStringsSep "." here;
                option = below;
              }
            ]
        )
      else
        all here below
    ) (lib.attrNames tree);
  ours = all [ "services" "cc-ci" ] options.services.cc-ci;

  code = value: if (value._type or null) == "literalMD" then value.text else "`${text value}`";
  text = value: if (value._type or null) == "literalExpression" then value.text else nix value;
  nix =
    value:
    if builtins.isAttrs value then
      "{ ${lib.concatMapStringsSep "" (name: "${name} = ${nix value.${name}}; ") (lib.attrNames value)}}"
    else if builtins.isList value then
      "[ ${lib.concatMapStringsSep "" (item: "${nix item} ") value}]"
    else
      builtins.toJSON value;
  default =
    option:
    if option ? defaultText then
      code option.defaultText
    else if option ? default then
      "`${nix option.default}`"
    else
      "none";
  entry =
    { name, option }:
    ''
      ## ${name}

      ${lib.removeSuffix "\n" option.description}

      - type: ${option.type.description}
      - default: ${default option}
    ''
    + lib.optionalString (option ? example) "- example: ${code option.example}\n";
in
{
  names = map (entry: entry.name) ours;
  markdown = ''
    # Options

    What a NixOS configuration can say about cc-ci. A whole one is `enable`, `domain`, `forge.url`, `forge.organisation` and
    `secretsFile`. Made from the modules by `bash scripts/lib/nix.sh --options`.

    ${lib.concatMapStringsSep "\n" entry ours}'';
}

# `90s`, `15m`, `1h30m` in whole seconds: spans of time as cc-ci's configuration has them.
lib: text:
let
  unit = {
    ms = 0;
    s = 1;
    m = 60;
    h = 3600;
    d = 86400;
  };
  next =
    rest:
    let
      part = builtins.match "([0-9]+)(ms|s|m|h|d)(.*)" rest;
    in
    if rest == "" then
      0
    else if part == null then
      throw "`${text}' is not a span of time such as 90s, 15m or 1h30m"
    else
      lib.toInt (builtins.elemAt part 0) * unit.${builtins.elemAt part 1} + next (builtins.elemAt part 2);
in
next text

# shellcheck shell=bash disable=SC2154
# Scripts of recipes in their sandbox, measured by the tests that hold their ceilings.

group_scripts() { part measure_scripts; }

measure_scripts() {
  local said
  say 'scripts: 21 in Fennel, and 200 checks (the tests are built first)'
  CC_CI_FENNEL=${CC_CI_FENNEL:-$("$root/scripts/lib/fennel.sh")}
  export CC_CI_FENNEL
  said=$(cd "$root" && cargo test --quiet --test script bench:: -- --nocapture --test-threads 1)
  metric script_start_ms "$(sed -n 's/^script_start_ms //p' <<<"$said" | head -1)" ms '<=20'
  metric checks_200_s "$(sed -n 's/^checks_200_s //p' <<<"$said" | head -1)" s '<=30'
}

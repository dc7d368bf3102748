use super::*;

fn wrong(text: &str) -> Vec<String> {
    let found = read_text("recipe.yaml", text, Side::Recipe).expect_err("something is wrong");
    assert!(found.iter().all(|finding| !finding.cure.is_empty() && finding.line > 0), "{found:?}");
    found
        .iter()
        .map(|finding| format!("{}:{}: {} ({})", finding.line, finding.column, finding.message, finding.rule))
        .collect()
}

fn knowledge(appliance: &str, head: &str, base: &str) -> Knowledge {
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in [("recipes/notes/recipe.yaml", appliance), ("head/.cc-ci/recipe.yaml", head)] {
        std::fs::create_dir_all(dir.path().join(path).parent().unwrap()).unwrap();
        std::fs::write(dir.path().join(path), text).unwrap();
    }
    let base = BaseFiles::Branch(Some(base.to_owned()));
    let recipe = "notes".parse().unwrap();
    read(Some(&dir.path().join("recipes")), &recipe, &dir.path().join("head"), &base).unwrap()
}

#[test]
fn everything_that_is_wrong_is_said_at_once_with_its_place() {
    let text = "\
helth: {path: /}
timeout: 15
env: {DOMAIN: x, 1st: y}
secrets: {smtp: {file: /run/secrets/smtp}}
not_applicable: {install: 'why not', backup: ''}
checks:
  - {name: one, get: status, json: {a.b: 1}}
  - {name: two}
  - {name: three, get: /, tcp: 80}
  - {name: four, tcp: 80, title: x}
  - {name: five, get: /, status: 999, until: 3}
  - {name: six, get: /six}
  - {name: six, get: /seven, host: OTHER}
markers: [{file: kept.txt}, {row: db, body: x}, {put: kept, body: same}]
";
    assert_eq!(
        wrong(text),
        [
            "1:1: unknown key `helth`; did you mean `health`? (key)",
            "2:10: `timeout`: needs a unit: `15s`, `15m` or `15h`, not `15` (key)",
            "3:7: `DOMAIN` is set by cc-ci (variable)",
            "3:18: `1st` is no variable's name (variable)",
            "4:1: `secrets` counts only on the appliance (appliance-only)",
            "5:18: `not_applicable` needs `backup` or `upgrade`, not `install` (key)",
            "7:22: `status` is no path of the app (path)",
            "7:36: `a.b` is no JSON pointer (json-pointer)",
            "8:5: this check does not say what it looks at (check-kind)",
            "9:27: a check looks at one thing, and this has `get` and `tcp` (check-kind)",
            "10:27: `title` means nothing to a `tcp` (check-key)",
            "11:46: `until`: needs a unit: `3s`, `3m` or `3h`, not `3` (key)",
            "13:5: two checks are called `six` (check-name)",
            "13:5: `hosts` has no `OTHER` (host)",
            "14:11: this says not what is written where (marker)",
            "14:29: `body` means nothing without `put` (marker)",
            "14:55: `kept` is no path of the app (path)",
            "14:67: `body` would be the same in every run, so older data would do as well (marker)",
        ]
    );
}

#[test]
fn what_is_no_mapping_or_no_yaml_says_so() {
    assert_eq!(wrong("- a list\n"), ["1:1: needs a mapping of keys, not a list (key)"]);
    assert!(wrong("checks: [\n")[0].ends_with("(yaml)"));
    assert!(read_text("recipe.yaml", "", Side::Recipe).is_ok());
}

#[test]
fn checks_come_from_the_head_and_what_grants_from_the_base() {
    let known = knowledge(
        "env: {MODE: appliance}\ntimeout: 20m\npolicy: [{rule: bind-mount, because: it is a monitor}]\n",
        "env: {MODE: head, MORE: '1.10'}\nchecks: [{get: /new}]\nnot_applicable: {backup: 'so says the head'}\ntimeout: 2h\n",
        "checks: [{get: /old}]\nnot_applicable: {upgrade: 'so says the base'}\ntimeout: 1h\n",
    );
    assert_eq!(known.env(), BTreeMap::from([("MODE", "appliance"), ("MORE", "1.10")]));
    assert_eq!(known.checks().map(|check| check.name.as_str()).collect::<Vec<_>>(), ["GET /new"]);
    assert_eq!(known.not_applicable(StageName::Backup), None);
    assert_eq!(known.not_applicable(StageName::Upgrade), Some("so says the base"));
    assert_eq!(known.timeout(), Some(Duration::from_secs(1200)));
    assert_eq!(known.policy()[0].rule, "bind-mount");
    assert_eq!(
        known.notes(),
        ["`not_applicable`, `timeout` changed; the test goes by the base branch until this is merged"]
    );
}

#[test]
fn what_runs_beside_it_comes_from_the_base_and_the_appliance() {
    let known = knowledge(
        "needs: [{recipe: sso, env: {SSO: 'https://{domain}/b'}, secrets: {client: admin}}, mail]\n",
        "needs: [ldap]\n",
        "needs: [{recipe: sso, env: {SSO: 'https://{domain}/a', MODE: oidc}}]\n",
    );
    let needs = known.needs();
    assert_eq!(needs.iter().map(|need| need.recipe.as_str()).collect::<Vec<_>>(), ["sso", "mail"]);
    let wired: BTreeMap<_, _> = needs[0].wired(&"sso-9ad31f.ci.test".parse().unwrap()).collect();
    assert_eq!(wired["SSO"], "https://sso-9ad31f.ci.test/b");
    assert_eq!(wired["MODE"], "oidc");
    assert_eq!(
        (needs[0].lends("client"), needs[0].lends("admin"), needs[1].lends("client")),
        (Some("admin"), None, None)
    );
    assert!(known.notes()[0].contains("`needs` changed"), "{:?}", known.notes());
    assert!(!known.overrules("SSO"), "what the operator wires is no value of its own");
}

#[test]
fn what_the_operator_gives_the_app_is_given_once() {
    let text = "secrets: {client: {file: /run/secrets/client}}\nneeds: [{recipe: sso, secrets: {client: admin}}]\n";
    let found = read_text("x", text, Side::Appliance).unwrap_err();
    assert_eq!(
        found.iter().map(|found| (found.line, found.column, found.rule)).collect::<Vec<_>>(),
        [(2, 32, "secret")]
    );
    let known = knowledge("env: {SSO: mine}\n", "", "needs: [{recipe: sso, env: {SSO: 'https://{domain}'}}]\n");
    assert!(known.overrules("SSO") && !known.overrules("MODE"));
}

#[test]
fn what_cannot_run_beside_it_is_said_with_its_place() {
    let text = "\
env: {MODE: x}
needs:
  - sso
  - {recipe: sso, env: {MODE: y, DOMAIN: z, a-b: c}, secrets: {client: admin}}
  - {recipe: mail, evn: {A: b}}
  - Not A Name
checks: [{get: /, host: sso}, {get: /a, host: other}]
";
    assert_eq!(
        wrong(text),
        [
            "4:5: `sso` is named twice (needs)",
            "4:25: `MODE` is set in two places (variable)",
            "4:34: `DOMAIN` is set by cc-ci (variable)",
            "4:45: `a-b` is no variable's name (variable)",
            "4:63: secrets of `sso` count only on the appliance (appliance-only)",
            "5:5: `needs`: a recipe's name goes here, or `{recipe: NAME, env: {VARIABLE: text}}` (key)",
            "6:5: `needs`: a recipe's name goes here, or `{recipe: NAME, env: {VARIABLE: text}}` (key)",
            "7:31: `hosts` has no `other` (host)",
        ]
    );
    assert_eq!(wrong("needs: [a, b, c, d]\n"), ["1:18: it needs 4 recipes beside it; 3 are the most (needs)"]);
}

#[test]
fn a_circle_and_a_chain_of_needs_are_refused_in_words() {
    let (a, b) = ("a".parse().unwrap(), "b".parse().unwrap());
    let needs = |text: &str| read_dir_of(text).needs();
    assert_eq!(refusal(&a, &needs("needs: [a]\n")).unwrap(), "`a` needs itself");
    assert_eq!(refusal(&a, &needs("needs: [b]\n")), None);
    assert_eq!(
        in_turn(&a, &b, &needs("needs: [c, a]\n")).unwrap(),
        "`a` needs `b`, and `b` needs `a`: each waits for the other"
    );
    assert_eq!(
        in_turn(&a, &b, &needs("needs: [c, d]\n")).unwrap(),
        "`b` needs `c` and 1 more in turn, and what is put up beside a recipe is put up alone"
    );
    assert_eq!(in_turn(&a, &b, &[]), None);
}

fn read_dir_of(text: &str) -> Directory {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(FILE), text).unwrap();
    read_dir(dir.path(), "x", Side::Recipe)
}

#[test]
fn a_check_may_say_where_what_is_needed_lives() {
    let kind = read_text("x", "checks: [{get: /, contains: 'at {sso}', redirect: 'https://{sso}/in'}]\n", Side::Recipe);
    let kind =
        kind.unwrap().checks[0].kind.with_domains(&[(&"sso".parse().unwrap(), &"sso-1.ci.test".parse().unwrap())]);
    let Kind::Http(http) = kind else { panic!("{kind:?}") };
    assert_eq!(http.contains.as_deref(), Some("at sso-1.ci.test"));
    assert_eq!(http.redirect.as_deref(), Some("https://sso-1.ci.test/in"));
}

#[test]
fn a_second_name_is_under_the_same_wildcard() {
    let known = knowledge("", "hosts: {SANDBOX_DOMAIN: sandbox}\n", "");
    let hosts = known.hosts(&"cryp-9ad31f.ci.test".parse().unwrap()).unwrap();
    assert_eq!(hosts["SANDBOX_DOMAIN"].as_str(), "cryp-9ad31f-sandbox.ci.test");
}

#[test]
fn a_link_in_the_place_of_the_file_is_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join(".cc-ci")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", dir.path().join(".cc-ci/recipe.yaml")).unwrap();
    let wrong = read(None, &"notes".parse().unwrap(), dir.path(), &BaseFiles::TheHead).unwrap_err();
    assert_eq!(wrong.side, Side::Recipe);
    assert!(wrong.findings[0].message.contains("is a symlink"), "{:?}", wrong.findings);
}

#[test]
fn the_committed_schema_is_current() {
    let committed = include_str!("../../docs/recipe.schema.json");
    assert!(
        committed == schema(),
        "docs/recipe.schema.json is old; `cc-ci validate --schema >docs/recipe.schema.json`"
    );
}

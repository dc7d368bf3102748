use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

struct Recipe(tempfile::TempDir);

impl Recipe {
    fn of(files: &[(&str, &str)]) -> Recipe {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        Recipe(dir)
    }

    fn load(&self, files: &[&str]) -> Result<Compose, ComposeError> {
        self.load_with(files, &[])
    }

    fn load_with(&self, files: &[&str], env: &[(&str, &str)]) -> Result<Compose, ComposeError> {
        let files: Vec<String> = files.iter().map(|&name| name.to_owned()).collect();
        let env: BTreeMap<_, _> = env.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
        load(self.0.path(), &files, &env)
    }
}

fn merged(base: &str, over: &str) -> Compose {
    Recipe::of(&[("a.yml", base), ("b.yml", over)]).load(&["a.yml", "b.yml"]).unwrap()
}

fn refused(text: &str) -> String {
    Recipe::of(&[("compose.yml", text)]).load(&["compose.yml"]).unwrap_err().to_string()
}

/// A part of the tree as text, for reading.
fn part(compose: &Compose, path: &[&str]) -> String {
    crate::yaml::render(compose.tree().at(path).unwrap())
}

#[test]
fn the_schema_is_checked_before_variables_are_filled_in() {
    let recipe = Recipe::of(&[(
        "compose.yml",
        "version: '3.8'\nservices:\n  app:\n    image: x\n    healthcheck:\n      start_period: ${X:-5m}\n",
    )]);
    let error = recipe.load_with(&["compose.yml"], &[("X", "1m")]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "compose.yml:6:21: services.app.healthcheck.start_period Does not match format 'duration'"
    );
    assert!(error.cure.contains("before it fills in variables"), "{}", error.cure);
}

#[test]
fn variables_are_filled_in_and_cast() {
    let recipe = Recipe::of(&[(
        "compose.yml",
        "services:\n  app:\n    image: nginx:${TAG:-1.29}\n    deploy: {labels: [\"coop-cloud.${STACK}.version=1.0.0+1\"]}\nnetworks:\n  proxy:\n    external: true\n",
    )]);
    let compose = recipe.load_with(&["compose.yml"], &[("STACK", "my_stack")]).unwrap();
    assert_eq!(compose.images()[0].1.as_str(), Some("nginx:1.29"));
    assert_eq!(compose.label("app", "coop-cloud.my_stack.version"), Some("1.0.0+1"));
    assert!(compose.networks()[0].is_external());
    let message = refused("services: {app: {image: \"${TAG:?say which}\"}}");
    assert_eq!(message, "compose.yml:1:25: services.app.image: required variable TAG is missing a value: say which");
    let message = refused("services: {app: {image: \"a$\"}}");
    assert!(message.contains("invalid interpolation format for services.app.image: \"a$\"; you may need to escape"));
}

#[test]
fn variables_without_a_value_are_told() {
    let recipe = Recipe::of(&[("c.yml", "services: {app: {image: \"a:$TAG\", hostname: \"${B:-b}\"}}")]);
    let compose = recipe.load(&["c.yml"]).unwrap();
    let unset: Vec<_> = compose.unset().map(|(name, place)| format!("{name} {place}")).collect();
    assert_eq!(unset, ["TAG c.yml:1:25"]);
}

#[test]
fn words_that_are_booleans_to_dockers_reader_are_found() {
    let error = Recipe::of(&[("c.yml", "services: {app: {image: x, networks: {n: }}}")]).load(&["c.yml"]).unwrap_err();
    assert_eq!(error.to_string(), "c.yml:1:39: Non-string key in services.app.networks: false");
    let error = Recipe::of(&[("c.yml", "services: {app: {image: x, networks: [n]}}")]).load(&["c.yml"]).unwrap_err();
    assert_eq!(error.to_string(), "c.yml:1:39: services.app.networks.0 must be a string");
}

#[test]
fn labels_and_environment_merge_in_either_style() {
    let compose = merged(
        "services:\n  app:\n    image: one\n    environment: [A=1, B, C=]\n    deploy:\n      labels:\n        - a=1\n        - b=2\n",
        "services:\n  app:\n    environment: {A: 2, C: \"\", D: 1.10}\n    deploy:\n      labels: {b: 3, c: \"\"}\n",
    );
    assert_eq!(part(&compose, &["services", "app", "environment"]), "A: \"2\"\nB: null\nC: \"\"\nD: \"1.1\"\n");
    assert_eq!(part(&compose, &["services", "app", "deploy", "labels"]), "a: \"1\"\nb: \"3\"\nc: \"\"\n");
    assert_eq!(compose.place(compose.service("app").unwrap().label_node("b").unwrap().span).to_string(), "b.yml:5:19");
}

#[test]
fn volumes_merge_by_target_and_configs_by_source() {
    let compose = merged(
        "services:\n  app:\n    image: one\n    volumes: ['data:/data', './conf:/conf:ro']\n    configs: [{source: c, target: /old}]\n    secrets: [s]\n",
        "services:\n  app:\n    volumes: ['other:/data', 'more:/more']\n    configs: [{source: c, target: /new}, d]\n    secrets: [s]\n",
    );
    let app = compose.service("app").unwrap();
    let mounts: Vec<_> = app.mounts().iter().map(|m| (m.kind, m.source.unwrap(), m.target, m.read_only)).collect();
    assert_eq!(
        mounts,
        [("volume", "other", "/data", false), ("bind", "./conf", "/conf", true), ("volume", "more", "/more", false)]
    );
    assert_eq!(part(&compose, &["services", "app", "configs"]), "- source: c\n  target: /new\n- source: d\n");
    assert_eq!(part(&compose, &["services", "app", "secrets"]), "- source: s\n");
}

#[test]
fn what_is_empty_or_false_does_not_win_and_lists_grow() {
    let compose = merged(
        "services:\n  app:\n    image: one\n    command: [run, it]\n    read_only: true\n    dns: 1.1.1.1\n    healthcheck: {test: a, interval: 5s}\n    deploy: {replicas: 2, update_config: {order: start-first}, restart_policy: {condition: any}}\n    logging: {driver: json-file, options: {max-size: 1m}}\n    networks: [proxy]\n",
        "services:\n  app:\n    image: two\n    command: other\n    read_only: false\n    dns: [8.8.8.8]\n    healthcheck: {test: [CMD, b], interval: 6s}\n    deploy: {replicas: 0, update_config: {failure_action: rollback}}\n    logging: {driver: json-file, options: {max-file: \"2\"}}\n    networks: {internal: {aliases: [db]}}\n",
    );
    let text = part(&compose, &["services", "app"]);
    for line in [
        "image: two\n",
        "command: other\n",
        "read_only: true\n",
        "- \"1.1.1.1\"\n  - \"8.8.8.8\"\n",
        "- CMD-SHELL\n    - a\n    - CMD\n    - b\n  interval: \"6s\"\n",
        "replicas: 0\n",
        "order: start-first\n    failure_action: rollback\n",
        "condition: any\n",
        "max-size: \"1m\"\n    max-file: \"2\"\n",
        "proxy: null\n  internal:\n    aliases:\n",
    ] {
        assert!(text.contains(line), "{line}\nis not in\n{text}");
    }
}

#[test]
fn a_service_of_an_overlay_alone_is_there() {
    let compose = merged(
        "services: {app: {image: a}}\nvolumes: {d: {driver: local}}",
        "services: {db: {image: b}}\nvolumes: {d: , e: }",
    );
    let names: Vec<_> = compose.services().iter().map(|service| service.name.to_owned()).collect();
    assert_eq!(names, ["app", "db"]);
    assert_eq!(part(&compose, &["volumes"]), "d: null\ne: null\n");
}

#[test]
fn files_stay_inside() {
    let recipe = Recipe::of(&[("compose.yml", "services: {app: {image: x, env_file: ../../etc/passwd}}")]);
    assert!(recipe.load(&["compose.yml"]).unwrap_err().to_string().contains("leads out of the recipe"));
    assert!(recipe.load(&["../compose.yml"]).unwrap_err().to_string().contains("leads out of the recipe"));
    std::os::unix::fs::symlink("/etc/hostname", recipe.0.path().join("link.yml")).unwrap();
    assert!(recipe.load(&["link.yml"]).unwrap_err().to_string().contains("symlink"));
    for (file, expected) in [
        ("/etc/hostname", "`/etc/hostname` leads out of the recipe"),
        ("link.yml", "`link.yml` is a symlink"),
        ("no.tmpl", "`no.tmpl` is missing"),
    ] {
        let text = format!("services: {{app: {{image: x}}}}\nconfigs: {{c: {{file: {file}}}}}\n");
        std::fs::write(recipe.0.path().join("compose.yml"), text).unwrap();
        let error = recipe.load(&["compose.yml"]).unwrap_err().to_string();
        assert!(error.starts_with("compose.yml:2:21: config c: ") && error.contains(expected), "{error}");
    }
    let error = recipe.load(&["none.yml"]).unwrap_err();
    assert_eq!((error.rule.clone(), error.to_string().as_str()), (Broken::Missing, "none.yml: `none.yml` is missing"));
}

#[test]
fn what_grows_without_end_is_refused() {
    let labels: String = (0..30_000).map(|n| format!("        - a{n}=b\n")).collect();
    let error = refused(&format!("services:\n  app:\n    image: x\n    deploy:\n      labels:\n{labels}"));
    assert!(error.contains("holds more than 20000 values"), "{error}");
    let long = "x".repeat(100_000);
    let labels = |labels: &str| format!("services: {{app: {{image: x, labels: [{labels}]}}}}");
    let recipe = Recipe::of(&[("c.yml", &labels(&format!("\"{}\"", "$A".repeat(1000))))]);
    assert!(recipe.load_with(&["c.yml"], &[("A", &long)]).unwrap_err().to_string().contains("too long"));
    let many: Vec<String> = (0..50).map(|n| format!("\"{n}=$A\"")).collect();
    let recipe = Recipe::of(&[("c.yml", &labels(&many.join(", ")))]);
    assert!(recipe.load_with(&["c.yml"], &[("A", &long)]).unwrap_err().to_string().contains("longer than anything"));
}

#[test]
fn versions_are_one() {
    let recipe = Recipe::of(&[
        ("a.yml", "version: '3.8'\nservices: {app: {image: x}}"),
        ("b.yml", "version: '3.9'\nservices: {app: {image: x}}"),
        ("c.yml", "services: {app: {image: x}}"),
        ("d.yml", "version: '3.8'\nservices: {app: {image: x, deploy: {resources: {limits: {pids: 5}}}}}"),
        ("e.yml", "version: '2.4'\nservices: {}"),
    ]);
    let error = recipe.load(&["a.yml", "b.yml"]).unwrap_err().to_string();
    assert!(error.contains("version mismatched between two composefiles : 3.8 and 3.9"), "{error}");
    assert!(recipe.load(&["a.yml", "c.yml"]).unwrap().render().starts_with("version: \"3.8\"\n"));
    assert!(recipe.load(&["c.yml"]).unwrap().render().starts_with("version: \"3.8\"\n"));
    let error = recipe.load(&["d.yml"]).unwrap_err();
    assert!(error.to_string().contains("services.app.deploy.resources.limits Additional property pids is not allowed"));
    assert!(error.cure.contains("raise `version`"));
    assert!(recipe.load(&["e.yml"]).unwrap_err().to_string().contains("unsupported Compose file version: 2.4"));
}

#[test]
fn what_is_rendered_needs_no_surroundings() {
    let recipe = Recipe::of(&[
        (
            "compose.yml",
            "services:\n  app:\n    image: x\n    command: 'echo $$HOME $A'\n    environment: [DOMAIN, E=, F=$$x]\n    env_file: more.env\n    volumes: ['./d:/d']\nconfigs: {c: {file: c.tmpl, name: st_c, template_driver: golang}}\nx-a: 1\n",
        ),
        ("c.tmpl", ""),
        ("more.env", "# no\nDOMAIN=other\nMORE=a=b\n"),
    ]);
    let compose = recipe.load_with(&["compose.yml"], &[("A", "1$2"), ("DOMAIN", "a.test"), ("E", "e")]).unwrap();
    let text = compose.render();
    let dir = recipe.0.path().to_str().unwrap();
    for line in [
        "command: \"echo $$HOME 1$$2\"".to_owned(),
        "DOMAIN: \"a.test\"".replace('"', ""),
        "MORE: \"a=b\"".into(),
        "E: e".into(),
        "F: \"$$x\"".into(),
        format!("file: {dir}/c.tmpl"),
        format!("source: {dir}/./d"),
    ] {
        assert!(text.contains(&line), "{line}\nis not in\n{text}");
    }
    assert!(!text.contains("env_file") && !text.contains("x-a"), "{text}");
    // Read again, with nothing to fill in, it says the same.
    std::fs::write(recipe.0.path().join("again.yml"), text.replace(&format!("{dir}/"), "")).unwrap();
    let again = recipe.load(&["again.yml"]).unwrap();
    assert_eq!(again.tree().at(&["services", "app", "command"]).unwrap().as_str(), Some("echo $HOME 1$2"));
}

#[test]
fn references_lead_somewhere() {
    for (text, expected) in [
        ("services: {app: {image: x, volumes: ['d:/d']}}", "service app: undefined volume \"d\""),
        ("services: {app: {image: x, networks: [proxy]}}", "service app: undefined network \"proxy\""),
        ("services: {app: {image: x, configs: [c]}}", "service app: undefined config \"c\""),
        ("services: {app: {image: x, secrets: [s]}}", "service app: undefined secret \"s\""),
    ] {
        let compose = Recipe::of(&[("c.yml", text)]).load(&["c.yml"]).unwrap();
        let error = compose.check_references().unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn names_in_swarm() {
    let compose = Recipe::of(&[(
        "c.yml",
        "services: {app: {image: x, secrets: [s]}}\nsecrets: {s: {external: true, name: st_s_v1}, t: {external: {name: old}}, u: {external: true}}\nvolumes: {d: , e: {name: own}}\n",
    )])
    .load(&["c.yml"])
    .unwrap();
    let names: Vec<_> = compose.secrets().iter().map(|secret| secret.full_name("st")).collect();
    assert_eq!(names, ["st_s_v1", "old", "u"]);
    let names: Vec<_> = compose.volumes().iter().map(|volume| volume.full_name("st")).collect();
    assert_eq!(names, ["st_d", "own"]);
    assert_eq!(compose.used_secrets().len(), 1);
}

#[test]
fn health_has_dockers_defaults() {
    let compose = Recipe::of(&[(
        "c.yml",
        "services: {a: {image: x, healthcheck: {test: curl}}, b: {image: x, healthcheck: {disable: true}}, c: {image: x, healthcheck: {test: [NONE]}}, d: {image: x}}",
    )])
    .load(&["c.yml"])
    .unwrap();
    let health = compose.service("a").unwrap().health().unwrap();
    assert_eq!(health.test, ["CMD-SHELL", "curl"]);
    assert_eq!((health.interval.as_secs(), health.retries), (30, 3));
    for name in ["b", "c", "d"] {
        assert_eq!(compose.service(name).unwrap().health(), None);
    }
}

#[test]
fn labels_and_environment_can_be_added() {
    let mut compose =
        Recipe::of(&[("c.yml", "services: {app: {image: x, environment: {A: own}}}")]).load(&["c.yml"]).unwrap();
    compose.set_label("app", "k", "v");
    compose.set_label("app", "k", "w");
    compose.set_label("none", "k", "v");
    compose.default_environment("app", "A", "other");
    compose.default_environment("app", "B", "$b");
    assert_eq!(compose.label("app", "k"), Some("w"));
    assert_eq!(part(&compose, &["services", "app", "environment"]), "A: own\nB: \"$b\"\n");
}

#[test]
fn what_is_shown_has_no_passwords() {
    let file = "services: {app: {image: x, environment: {DB_PASSWORD: hunter22, DB_PASSWORD_FILE: /run/secrets/p, TITLE: t, TOKEN: }}}";
    let shown = Recipe::of(&[("c.yml", file)]).load(&["c.yml"]).unwrap().render_masked();
    assert!(shown.contains("DB_PASSWORD: \"[masked]\"") && !shown.contains("hunter22"), "{shown}");
    assert!(shown.contains("DB_PASSWORD_FILE: /run/secrets/p") && shown.contains("TITLE: t"), "{shown}");
}

proptest! {
    #[test]
    fn no_file_makes_it_panic(text in "(services|app|image|deploy|labels|volumes|configs|networks|external|x|[:{}\\[\\], \\n$'-]|  ){0,40}") {
        let recipe = Recipe::of(&[("c.yml", &text)]);
        if let Ok(compose) = recipe.load(&["c.yml"]) {
            let _ = (compose.render(), compose.check_references(), compose.web_service().is_some());
        }
    }

    #[test]
    fn merging_nothing_changes_nothing(label in "[a-z]{1,4}", value in "[ -~]{0,8}") {
        let base = format!("services: {{app: {{image: x, deploy: {{labels: {{\"{label}\": {}}}}}}}}}", serde_json::to_string(&value.replace('$', "")).unwrap());
        let recipe = Recipe::of(&[("a.yml", &base), ("b.yml", "services: {app: {}}")]);
        let alone = recipe.load(&["a.yml"]).unwrap().render();
        prop_assert_eq!(recipe.load(&["a.yml", "b.yml"]).unwrap().render(), alone);
    }
}

use super::*;

struct Dir(tempfile::TempDir);

const SAMPLE: &str = "TYPE=custom-html\nDOMAIN=custom-html.example.com\nLETS_ENCRYPT_ENV=production\nCOMPOSE_FILE=\"compose.yml\"\nSECRET_DB_PASSWORD_VERSION=v2 # length=32 charset=hex\n";
const COMPOSE: &str = "version: '3.8'
services:
  app:
    image: nginx:1.29.0
    secrets: [db_password]
    configs: [{source: site, target: /site}]
    volumes: ['content:/usr/share/nginx/html']
    networks: [proxy]
    healthcheck: {test: [CMD, curl, localhost], interval: 10s, start_period: 1m}
    deploy:
      labels:
        - traefik.enable=true
        - \"traefik.http.routers.${STACK_NAME}.rule=Host(`${DOMAIN}`)\"
        - \"traefik.http.routers.${STACK_NAME}.tls.certresolver=${LETS_ENCRYPT_ENV}\"
        - traefik.http.services.${STACK_NAME}.loadbalancer.server.port=80
        - coop-cloud.${STACK_NAME}.version=1.13.0+1.29.0
        - coop-cloud.${STACK_NAME}.timeout=${TIMEOUT:-120}
        - backupbot.backup=true
networks: {proxy: {external: true}}
volumes: {content: }
configs: {site: {name: \"${STACK_NAME}_site_${SITE_VERSION}\", file: site.tmpl, template_driver: golang}}
secrets: {db_password: {external: true, name: \"${STACK_NAME}_db_password_${SECRET_DB_PASSWORD_VERSION}\"}}
";

impl Dir {
    fn good() -> Dir {
        let dir = Dir(tempfile::tempdir().unwrap());
        dir.put(".env.sample", SAMPLE);
        dir.put("compose.yml", COMPOSE);
        dir.put("abra.sh", "export SITE_VERSION=v3\n");
        dir.put("site.tmpl", "");
        dir.put("README.md", "# custom-html\n<!-- metadata -->\n<!-- endmetadata -->\n");
        dir
    }

    fn with(self, name: &str, from: &str, to: &str) -> Dir {
        let text = std::fs::read_to_string(self.0.path().join(name)).unwrap();
        assert!(text.contains(from), "{from} is not in {name}");
        self.put(name, &text.replace(from, to));
        self
    }

    fn without(self, name: &str) -> Dir {
        std::fs::remove_file(self.0.path().join(name)).unwrap();
        self
    }

    fn put(&self, name: &str, text: &str) {
        std::fs::write(self.0.path().join(name), text).unwrap();
    }

    fn said(&self) -> Result<Said, RecipeError> {
        let domain: AppDomain = "cust-9ad31f.ci.test".parse().unwrap();
        let recipe = open(self.0.path())?;
        recipe.say(&recipe.env_for(&domain), domain.as_str())
    }

    fn refused(&self) -> String {
        self.said().unwrap_err().to_string()
    }

    fn lint(&self) -> Vec<String> {
        lint(self.0.path()).iter().map(|finding| format!("{:?} {finding}", finding.severity)).collect()
    }
}

#[test]
fn a_recipe_says_what_it_is() {
    let dir = Dir::good();
    let recipe = open(dir.0.path()).unwrap();
    assert_eq!(recipe.name.as_str(), "custom-html");
    assert_eq!(recipe.compose_files, ["compose.yml"]);
    let said = dir.said().unwrap();
    assert_eq!(said.stack, "cust-9ad31f_ci_test");
    assert_eq!(said.version.as_deref(), Some("1.13.0+1.29.0"));
    assert_eq!(said.timeout.as_secs(), 120);
    let web = said.web.unwrap();
    assert_eq!((web.service.as_str(), web.port), ("app", Some(80)));
    assert_eq!(web.rule.as_deref(), Some("Host(`cust-9ad31f.ci.test`)"));
    let secret = &said.secrets[0];
    assert_eq!((secret.name.as_str(), secret.version.as_str()), ("db_password", "v2"));
    assert_eq!(secret.full_name, "cust-9ad31f_ci_test_db_password_v2");
    assert_eq!(secret.modifiers.length, Some(32));
    assert_eq!(said.compose.configs()[0].full_name(&said.stack), "cust-9ad31f_ci_test_site_v3");
}

#[test]
fn a_secrets_version_is_the_variable_in_its_name() {
    let dir = Dir::good().with("compose.yml", "_${SECRET_DB_PASSWORD_VERSION}", "_${SECRET_OTHER_VERSION}").with(
        ".env.sample",
        "SECRET_DB_PASSWORD_VERSION=v2",
        "SECRET_OTHER_VERSION=v3",
    );
    let secret = &dir.said().unwrap().secrets[0];
    assert_eq!((secret.variable.as_deref(), secret.version.as_str()), (Some("SECRET_OTHER_VERSION"), "v3"));
    assert_eq!((secret.modifiers.length, secret.full_name.as_str()), (Some(32), "cust-9ad31f_ci_test_db_password_v3"));
}

#[test]
fn a_domain_that_is_not_the_placeholder_is_set_all_the_same() {
    let dir = Dir::good().with(".env.sample", "custom-html.example.com", "real.example.org");
    assert_eq!(dir.said().unwrap().web.unwrap().rule.as_deref(), Some("Host(`cust-9ad31f.ci.test`)"));
}

#[test]
fn what_is_not_a_recipe_says_why() {
    for (dir, expected) in [
        (Dir::good().without(".env.sample"), ".env.sample: `.env.sample` is missing"),
        (Dir::good().with(".env.sample", "TYPE=custom-html\n", ""), "there is no `TYPE=`"),
        (
            Dir::good().with(".env.sample", "=custom-html\n", "=a;rm -rf\n"),
            ".env.sample:1: TYPE: `a;rm -rf` is not a recipe name",
        ),
        (
            Dir::good().with(".env.sample", "=custom-html\n", "=$(id)\n"),
            ".env.sample:1: TYPE: `$(id)` is not a recipe name",
        ),
        (
            Dir::good().with(".env.sample", "=custom-html\n", "=../x\n"),
            ".env.sample:1: TYPE: `../x` is not a recipe name",
        ),
        (Dir::good().with(".env.sample", "LETS", "a nonsense\nLETS"), ".env.sample:3: `a nonsense` is neither"),
        (
            Dir::good().with(".env.sample", "\"compose.yml\"", "compose.yml:compose.x.yml"),
            "compose.x.yml: `compose.x.yml` is missing",
        ),
        (Dir::good().with(".env.sample", "\"compose.yml\"", "../compose.yml"), "leads out of the recipe"),
        (Dir::good().without("compose.yml"), "compose.yml: `compose.yml` is missing"),
        (Dir::good().with("compose.yml", "  app:\n", "  web:\n"), "compose.yml: there is no service called `app`"),
        (Dir::good().with("compose.yml", "services:", "services: ["), "compose.yml:"),
        (Dir::good().without("site.tmpl"), "config site: `site.tmpl` is missing"),
        (
            Dir::good().with("abra.sh", "v3", "version-that-is-really-very-long-indeed-too-long"),
            "compose.yml:21:11: config `cust-9ad31f_ci_test_site_version-that-is-really-very-long-indeed-too-long` has 73 characters, 64 are allowed; shorten it by 9",
        ),
    ] {
        let error = dir.refused();
        assert!(error.contains(expected), "{expected}\nis not in\n{error}");
    }
}

#[test]
fn a_symlinked_sample_is_refused() {
    let dir = Dir::good().without(".env.sample");
    std::os::unix::fs::symlink("/etc/hostname", dir.0.path().join(".env.sample")).unwrap();
    assert!(dir.refused().contains("symlink"));
}

#[test]
fn a_good_recipe_has_nothing_to_say() {
    assert_eq!(Dir::good().lint(), Vec::<String>::new());
}

#[test]
fn every_finding_says_where_and_what_to_do() {
    for (dir, expected) in [
        (Dir::good().without(".env.sample"), "Error .env.sample: `.env.sample` is missing (R008); add a `.env.sample`"),
        (
            Dir::good().with(".env.sample", "TYPE=custom-html\n", ""),
            "Error .env.sample: there is no `TYPE=`, so the recipe has no name (type)",
        ),
        (
            Dir::good().with("compose.yml", "  app:\n", "  web:\n"),
            "Error compose.yml: there is no service called `app`",
        ),
        (
            Dir::good().with("compose.yml", "image: nginx:1.29.0", "hostname: x"),
            "Error compose.yml:3:3: `app` has no image (R011)",
        ),
        (
            Dir::good().with("compose.yml", "        - coop-cloud.${STACK_NAME}.version=1.13.0+1.29.0\n", ""),
            "Error compose.yml:3:3: no service carries the version label",
        ),
        (
            Dir::good().with("compose.yml", "start_period: 1m", "start_period: \"${S:-1m}\""),
            "Error compose.yml:9:78: services.app.healthcheck.start_period Does not match format 'duration' (compose-schema); write the value itself",
        ),
        (
            Dir::good().with("compose.yml", "1.13.0+1.29.0", "latest"),
            "Warning compose.yml:16:11: `latest` is not a recipe's version",
        ),
        (
            Dir::good().with("compose.yml", "nginx:1.29.0", "nginx"),
            "Warning compose.yml:4:12: the image `nginx` has no tag (R003)",
        ),
        (
            Dir::good().with("compose.yml", "nginx:1.29.0", "reg.example:5000/nginx:latest"),
            "is another image tomorrow (R004)",
        ),
        (
            Dir::good().with("compose.yml", "    healthcheck", "    x-healthcheck"),
            "Warning compose.yml:3:3: `app` has no health check",
        ),
        (
            Dir::good().with(
                "compose.yml",
                "{test: [CMD, curl, localhost], interval: 10s, start_period: 1m}",
                "{disable: true}",
            ),
            "Warning compose.yml:9:18: the health check of `app` is turned off, so nobody knows when it is up (R002)",
        ),
        (
            Dir::good().with("compose.yml", "[CMD, curl, localhost]", "[NONE]"),
            "Warning compose.yml:9:18: the health check of `app` is turned off",
        ),
        (Dir::good().with("compose.yml", ", start_period: 1m", ""), "is killed 30 s after its start"),
        (
            Dir::good().with("compose.yml", "    networks: [proxy]", "    ports: ['80:80']\n    networks: [proxy]"),
            "Warning compose.yml:8:13: `app` publishes a port",
        ),
        (Dir::good().with("compose.yml", "traefik.enable=true", "a=b"), "no service is routed by Traefik (R010)"),
        (
            Dir::good().with("abra.sh", "SITE_VERSION", "OTHER_VERSION"),
            "Warning compose.yml:21:11: the version of the config `site` is not exported (R012); write `export SITE_VERSION=v1` in abra.sh",
        ),
        (
            Dir::good().with("abra.sh", "v3", "a-version-of-16-ch"),
            "too long for stacks of more than 40 characters (R015)",
        ),
        (Dir::good().with("abra.sh", "export", "curl x\nexport"), "Warning abra.sh:1:1: `curl x` runs whenever"),
        (
            Dir::good().with(".env.sample", "custom-html.example.com", "foo.example"),
            "Warning .env.sample:2:1: DOMAIN is `foo.example`",
        ),
        (
            Dir::good().with(".env.sample", "length=32", "generate=false"),
            "Note compose.yml:22:11: the secret `db_password` is not generated",
        ),
        (Dir::good().with(".env.sample", "length=32", ""), "says no length"),
        (
            Dir::good().with(".env.sample", "SECRET_DB", "#SECRET_DB"),
            "the secret `db_password` has no version that an app can set (secret-version); end its name in `_${SECRET_DB_PASSWORD_VERSION}`",
        ),
        (
            Dir::good().with(".env.sample", "LETS_ENCRYPT_ENV", "OTHER"),
            "Warning compose.yml:14:11: `LETS_ENCRYPT_ENV` has no value here (unset-variable)",
        ),
        (
            Dir::good().with(".env.sample", "LETS_ENCRYPT_ENV", "OTHER"),
            "Note .env.sample:3:1: `OTHER` is used in no file",
        ),
        (Dir::good().with("compose.yml", "backupbot.backup=true", "a=b"), "there are volumes and no backup label"),
        (
            Dir::good().with("compose.yml", "backupbot.backup=true", "backupbot.backup.path=/x"),
            "is of the first version of the backup labels",
        ),
        (
            Dir::good().with("compose.yml", "backupbot.backup=true", "backupbot.backup.volumes.contant.path=a"),
            "`backupbot.backup.volumes.contant.path` names a volume that the recipe does not have",
        ),
        (
            Dir::good().with("compose.yml", "backupbot.backup=true", "backupbot.backup.prehook=a"),
            "`backupbot.backup.prehook` is no label of the backup specification",
        ),
        (Dir::good().with("compose.yml", "version: '3.8'\n", ""), "the file names no format version (R001)"),
        (
            Dir::good().with(
                "compose.yml",
                "    networks: [proxy]",
                "    networks: [proxy]\n    environment: {\"${STACK_NAME}_A\": b}",
            ),
            "Warning compose.yml:9:19: the variable in `${STACK_NAME}_A` stays as it is",
        ),
        (Dir::good().with("README.md", "metadata", "nothing"), "Warning README.md: there is no metadata block (R007)"),
    ] {
        let found = dir.lint();
        assert!(found.iter().any(|line| line.contains(expected)), "{expected}\nis not in\n{}", found.join("\n"));
    }
}

/// Another service and its volume.
fn with_database(labels: &str) -> Dir {
    let db = format!(
        "  db:\n    image: postgres:17\n    volumes: ['db:/var/lib/postgresql/data']\n    deploy: {{labels: {labels}}}\nnetworks: {{"
    );
    Dir::good().with("compose.yml", "networks: {", &db).with("compose.yml", "volumes: {", "volumes: {db: , ")
}

#[test]
fn a_backup_label_is_read_as_a_backup_reads_it() {
    for on in ["true", "yes", "on", "1", "'True'", "${ENABLE_BACKUPS:-true}"] {
        let dir = Dir::good().with("compose.yml", "backupbot.backup=true", &format!("backupbot.backup={on}"));
        assert!(!dir.lint().iter().any(|line| line.contains("(backup-labels)")), "{on}: {:?}", dir.lint());
    }
    for (labels, expected) in [
        ("[a=b]", None),
        (
            "[backupbot.backup.volumes.db=false]",
            Some(
                "Warning compose.yml:22:23: nothing of the database `db` is backed up: its volume is left out, and no hook dumps what is in it",
            ),
        ),
        ("[backupbot.backup.volumes.db=false, backupbot.backup.pre-hook=/dump]", None),
        ("[backupbot.backup.volumes.db.path=dump, backupbot.backup.pre-hook=/dump]", None),
        ("[backupbot.backup=yes]", Some("compose.yml:22:23: `backupbot.backup` is on a second service, `db`")),
        (
            "[backupbot.backup.volumes.db.path=../x]",
            Some("compose.yml:22:23: the label `backupbot.backup.volumes.db.path` names `../x`"),
        ),
        (
            "[backupbot.backup.volumes.d=false]",
            Some("names a volume that the recipe does not have (backup-labels); there is `content`, `db`"),
        ),
    ] {
        let found: Vec<String> =
            with_database(labels).lint().into_iter().filter(|line| line.contains("(backup-labels)")).collect();
        match expected {
            Some(expected) => assert!(found.len() == 1 && found[0].contains(expected), "{expected}: {found:?}"),
            None => assert!(found.is_empty(), "{labels}: {found:?}"),
        }
    }
    let dir = Dir::good().with(
        "compose.yml",
        "- backupbot.backup=true",
        "- backupbot.backup=true\n        - backupbot.backup.volumes.content=false",
    );
    assert!(dir.lint()[0].contains("leave out every volume"), "{:?}", dir.lint());
    let dump = "- backupbot.backup=true\n        - backupbot.backup.pre-hook=pg_dump -h db";
    let dir = with_database("[backupbot.backup.volumes.db=false]").with("compose.yml", "- backupbot.backup=true", dump);
    assert!(!dir.lint().iter().any(|line| line.contains("(backup-labels)")), "{:?}", dir.lint());
}

#[test]
fn a_database_has_a_volume() {
    let without =
        |by: &str| with_database("[a=b]").with("compose.yml", "volumes: ['db:/var/lib/postgresql/data']", by).lint();
    let told = |found: &[String]| {
        found.iter().any(|line| line.contains("compose.yml:19:3: `db` is a database without a volume"))
    };
    for none in ["hostname: a", "volumes: [/var/lib/postgresql/data]"] {
        assert!(told(&without(none)), "{:?}", without(none));
    }
    for some in ["volumes: ['db:/data']", "volumes: [{type: tmpfs, target: /var/lib/postgresql/data}]"] {
        assert!(!told(&without(some)), "{:?}", without(some));
    }
}

#[test]
fn a_variable_that_the_sample_offers_may_stay_empty() {
    let offers = Dir::good().with(".env.sample", "LETS_ENCRYPT_ENV=", "# LETS_ENCRYPT_ENV=").lint();
    assert!(!offers.iter().any(|line| line.contains("unset-variable")), "{offers:?}");
    let talks = Dir::good().with(".env.sample", "LETS_ENCRYPT_ENV=", "# LETS_ENCRYPT_ENVS=").lint();
    assert!(talks.iter().any(|line| line.contains("unset-variable")), "{talks:?}");
}

/// Rules of lint that take a repository with tags; `tests/lint.rs` has those.
const OF_HISTORY: &[&str] = &["R014", "no-release", "config-version"];

#[test]
fn the_document_has_every_rule_and_each_of_its_examples_is_found() {
    let rows = include_str!("../../docs/lint.md").lines().filter(|line| line.starts_with("| `"));
    let mut documented = Vec::new();
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [rule, severity, _, _, example] = cells.as_slice() else { panic!("five cells: {row}") };
        let rule = rule.trim_matches('`');
        documented.push(rule.to_owned());
        if OF_HISTORY.contains(&rule) {
            continue;
        }
        let quoted: Vec<&str> = example.split('`').collect();
        let [_, file, _, from, _, to, _] = quoted.as_slice() else { panic!("`file`: `from` → `to`: {example}") };
        let dir = Dir::good().with(file, from, &to.replace('⏎', "\n"));
        let mut found = lint(dir.0.path());
        if rule == "name-length" {
            found.push(lint::of_error(&dir.said().unwrap_err()));
        }
        let found = found.iter().find(|finding| finding.rule == rule);
        let found = found.unwrap_or_else(|| panic!("{rule}: {example} has only {:?}", dir.lint()));
        let as_said = format!("{:?}", found.severity).to_lowercase();
        assert!(severity.split(" or ").any(|one| one == as_said), "{rule} is {as_said}, not {severity}");
    }
    documented.sort();
    let mut known: Vec<String> = lint::RULES.iter().map(|rule| (*rule).to_owned()).collect();
    known.sort();
    assert_eq!(documented, known);
}

#[test]
fn versions_of_recipes() {
    for good in ["1.0.0+1.0", "2.0.1+1.0.6-social-amd64", "0.1.0-rc1+4"] {
        assert!(lint::is_recipe_version(good), "{good}");
    }
    for bad in ["", "1.0.0", "1.0+1", "latest", "v1.0.0+1", "1.0.0+", "a.b.c+1"] {
        assert!(!lint::is_recipe_version(bad), "{bad}");
    }
}

#[test]
fn stacks_are_cut_where_abra_cuts() {
    let env = BTreeMap::new();
    assert_eq!(stack_name(&env, "cust-9ad31f.ci.test"), "cust-9ad31f_ci_test");
    assert_eq!(stack_name(&env, &"a".repeat(60)).len(), 45);
    assert_eq!(stack_name(&[("STACK_NAME".to_owned(), "own".to_owned())].into(), "x.y"), "own");
}

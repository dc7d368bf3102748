//! `docs/config.md` lists every key of the configuration file, each with its default, and no other.

use std::collections::BTreeSet;
use std::path::Path;

use cc_ci::config::{Config, load_without_secrets};
use cc_ci::yaml::{self, Node, Value};

const DOCUMENT: &str = include_str!("../docs/config.md");

/// The examples: what has no default, every default, what is left out by default.
fn blocks() -> [&'static str; 3] {
    let blocks: Vec<&str> = DOCUMENT.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    blocks.try_into().unwrap()
}

/// A configuration of several texts that are laid over each other.
fn of(texts: &[&str]) -> Config {
    let mut all = yaml::parse("config.md", texts[0]).unwrap();
    for text in &texts[1..] {
        lay_over(&mut all, yaml::parse("config.md", text).unwrap());
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), yaml::render(&all)).unwrap();
    load_without_secrets(file.path()).unwrap()
}

fn lay_over(below: &mut Node, above: Node) {
    match (&mut below.value, above.value) {
        (Value::Map(below), Value::Map(above)) => {
            for (key, value) in above {
                match below.iter_mut().find(|(known, _)| known.scalar() == key.scalar()) {
                    Some((_, known)) => lay_over(known, value),
                    None => below.push((key, value)),
                }
            }
        }
        (below, above) => *below = above,
    }
}

/// Every key as a path, as the type's own `Debug` tells them: one line a field, four spaces a level.
fn keys(config: &Config) -> BTreeSet<String> {
    let mut above: Vec<(usize, String)> = Vec::new();
    let mut keys = BTreeSet::new();
    for line in format!("{config:#?}").lines() {
        let Some((key, _)) = line.trim_start().split_once(": ") else { continue };
        if !key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') {
            continue;
        }
        let indent = line.len() - line.trim_start().len();
        above.retain(|(other, _)| *other < indent);
        let path = above.last().map_or_else(|| key.to_owned(), |(_, path)| format!("{path}.{key}"));
        keys.insert(path.clone());
        above.push((indent, path));
    }
    keys
}

fn named(node: &Node, path: &str, keys: &mut BTreeSet<String>) {
    for (key, value) in node.as_map().unwrap_or_default() {
        let key = key.scalar().unwrap();
        let path = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        keys.insert(path.clone());
        named(value, &path, keys);
    }
    for item in node.as_seq().unwrap_or_default() {
        named(item, path, keys);
    }
}

#[test]
fn the_document_names_every_key_of_the_configuration_and_no_other() {
    let mut documented = BTreeSet::new();
    for block in blocks() {
        named(&yaml::parse("config.md", block).unwrap(), "", &mut documented);
    }
    assert_eq!(keys(&of(&blocks())), documented);
    assert!(documented.contains("policy.app.memory_mib") && documented.contains("forge.webhook.secret_file"));
    assert!(documented.contains("notify.mail.password_file") && documented.contains("schedule.quiet"));
}

#[test]
fn each_default_is_as_the_document_says() {
    let [needed, defaults, _] = blocks();
    assert_eq!(format!("{:#?}", of(&[needed])), format!("{:#?}", of(&[needed, defaults])));
}

/// A configuration that has no more than it needs, with these keys besides, or in the place of those of the same name.
fn said_of(path: &Path, over: &str) -> String {
    const LEAST: &str = "domain: ci.example.org\nforge: {url: 'https://git.example.org', organisation: recipes, token_file: /nowhere}\n";
    let key = over.split(':').next().unwrap();
    let kept: String = LEAST.lines().filter(|line| !line.starts_with(key)).map(|line| format!("{line}\n")).collect();
    std::fs::write(path, format!("{kept}{over}\n")).unwrap();
    load_without_secrets(path).map_or_else(|error| error.to_string(), |_| "good".into())
}

/// Each a key that can be read and cannot work, with where it stands and what is said of it.
const UNFIT: &[(&str, &str)] = &[
    ("domain: 1.2.3.4", ":2:9: `domain` is an address; apps need a name such as `ci.example.org`"),
    ("domain: https://ci.example.org", ":2:9: `domain`: `https://ci.example.org` is not a domain"),
    ("domain: an-appliance-of-a-long-name.example.org", "`domain` has 39 characters; with more than 33"),
    ("state_dir: here", ":3:12: `state_dir` is `here`; name it from the root"),
    ("state_dir: /", "`state_dir` is the root of the file system; /var/lib/cc-ci is usual"),
    ("recipes_dir: ./recipes", "`recipes_dir` is `./recipes`; name it from the root"),
    ("web: {listen: '0.0.0.0:8080'}", ":3:15: `web.listen` is no address that people could reach"),
    ("web: {listen: '127.0.0.1:0'}", "say in `web.url` how they do"),
    ("web: {listen: '127.0.0.1:80'}", "`web.listen` and `proxy.http_port` are both port 80"),
    ("web: {listen: 'localhost:80'}", "`localhost:80` is not an IP address with a port, such as `127.0.0.1:8080`"),
    ("web: {url: ci.example.org}", ":3:12: `web.url`: `ci.example.org` is not an http or https address"),
    ("web: {url: 'https:///status'}", "is not an http or https address; write it as https://host"),
    ("web: {url: 'https://ci.example.org?page=1'}", "goes on with `?` or `#`; paths are added to it"),
    ("web: {url: 'https://ci.example.org#top'}", "goes on with `?` or `#`"),
    ("web: {url: 'https://ci.example.org:0'}", "has port 0, where nothing answers"),
    ("runner: {parallel: 0}", ":3:20: `runner.parallel` is 0: nothing would ever run; 1 is the default"),
    ("runner: {parallel: 65}", "`runner.parallel` is 65; one machine carries at most 64"),
    ("runner: {abra: ./abra}", "`runner.abra` is neither a path from the root nor the name of a program"),
    ("runner: {abra: ''}", "`runner.abra` is neither"),
    ("runner: {docker: 'tcp://127.0.0.1:2375'}", "`runner.docker` is `tcp://127.0.0.1:2375`; name it from the root"),
    ("runner: {registry_login_file: /login}", "is not called `config.json`"),
    ("runner: {grace: 8d}", "`runner.grace` is more than a week, which nobody would wait for; 10m is usual"),
    ("runner: {retry_after: 0s}", "`runner.retry_after` is less than a second: nothing mends so fast; 1m is usual"),
    ("runner: {limits: {command: 0s}}", "`runner.limits.command` is less than a second: every command would be ended"),
    ("runner: {limits: {stage: 999ms}}", "`runner.limits.stage` is less than a second"),
    ("runner: {limits: {run: 999d}}", "`runner.limits.run` is more than a week"),
    ("runner: {limits: {silence: 0s}}", "`runner.limits.silence` is less than a second"),
    (
        "runner: {limits: {teardown: 5s}}",
        "`runner.limits.teardown` is less than 10 seconds: a stack needs longer to go",
    ),
    ("runner: {limits: {answer: 0s}}", "`runner.limits.answer` is less than a second: no app would answer in time"),
    ("runner: {limits: {run: 200000d}}", "`200000d` is longer than a hundred years"),
    ("runner: {images: {above: 101}}", "no disk is fuller than 100 percent; 80 is usual"),
    (
        "policy: {registries: [docker.io, 'https://ghcr.io']}",
        ":3:34: `policy.registries`: `https://ghcr.io` is an address",
    ),
    ("policy: {registries: [ghcr.io/owner]}", "goes on behind the host"),
    ("policy: {registries: [ghcr]}", "is no registry as images name it"),
    ("policy: {registries: [index.docker.io]}", "is called `docker.io` here"),
    ("policy: {replicas: 0}", "`policy.replicas` is 0: no service could run; 8 is the default"),
    ("policy: {replicas: 9999999999}", "`policy.replicas` is more than 1000"),
    ("policy: {app: {cpus: 1e308}}", ":3:22: `policy.app.cpus` is more than any machine has"),
    ("policy: {app: {cpus: .nan}}", "`policy.app.cpus` is too little"),
    ("policy: {app: {cpus: 0}}", "`policy.app.cpus` is too little"),
    ("policy: {app: {memory_mib: 1}}", "`policy.app.memory_mib` is too little: no app starts with less than 64 MiB"),
    ("policy: {app: {memory_mib: 18446744073709551615}}", "`policy.app.memory_mib` is more than any machine has"),
    ("policy: {app: {memory_mib: 18446744073709551616}}", "not `18446744073709551616`, which is too large"),
    ("policy: {app: {pids: 1}}", "`policy.app.pids` is too little"),
    ("proxy: {address: '0.0.0.0:443'}", "`proxy.address` is no address that one can connect to, as probes do"),
    ("proxy: {address: '127.0.0.1:0'}", "`proxy.address` is on port 0, which is another each time; name one"),
    ("proxy: {http_port: 0}", "`proxy.http_port` is on port 0"),
    ("proxy: {http_port: 443}", "`proxy.http_port` and `proxy.address` are both port 443"),
    ("proxy: {certificate_file: /x}", "come together; one of them is missing"),
    ("proxy: {ca_file: authority.pem}", ":3:18: `proxy.ca_file` is `authority.pem`; name it from the root"),
    ("proxy: {image: '--privileged'}", "`proxy.image` is no image as Docker names it: `name:tag`"),
    ("proxy: {network: host}", "`proxy.network` is no name for a network of one's own"),
    ("proxy: {domain: 10.0.0.1}", "`proxy.domain` is an address"),
    (
        "proxy: {domain: x.org}\nbackup: {domain: x.org}",
        ":4:18: `backup.domain` is `proxy.domain` too; two apps need two names",
    ),
    ("backup: {image: ''}", "`backup.image` is no image"),
    ("logs: {run_bytes: 0}", "`logs.run_bytes` is less than 65536"),
    ("logs: {run_bytes: 99999999999999}", "`logs.run_bytes` is more than any disk takes of one run"),
    ("retention: {age: 0s}", "`retention.age` is less than an hour"),
    ("retention: {runs: 0}", "`retention.runs` is 0: every run would go as it ends; 20000 is usual"),
    ("retention: {size: 1M}", "`retention.size` is less than `logs.run_bytes`"),
    ("retention: {free: 9999T}", "`retention.free` is more than any disk has, so no run would ever begin; 2G is usual"),
    ("schedule: {cron: '0 1 31 2 *'}", "never comes"),
    ("schedule: {cron: '0 1 * * *', spread: 1d}", ":3:39: `schedule.spread` is as long as the 1440 minutes"),
    ("schedule: {cron: '0 1 * * *', quiet: ['00:00-12:00', '12:00-00:00']}", "`schedule.quiet` is the whole day"),
    ("notify: [{name: a}]", ":3:10: `notify`: `a` needs exactly one of `webhook`, `matrix` and `mail`"),
    ("notify: [{name: a, webhook: {url: 'https://x?y#z', secret_file: /x}}]", "`url` goes on with `#`"),
    (
        "notify: [{name: a, webhook: {url: 'https://x?y', secret_file: x}}]",
        "`secret_file` is `x`; name it from the root",
    ),
    ("notify: [{name: a, matrix: {homeserver: 'http://x', room: '!a:b', token_file: /x}}]", ":3:41: "),
    ("notify: [{name: a, mail: {server: 'x:25', from: a@b, to: [a@b]}}]", "`server` is no host; name it alone"),
    ("notify: [{name: a, mail: {server: x, port: 0, from: a@b, to: [a@b]}}]", "`port` is 0"),
    ("notify: [{name: a, mail: {server: x, from: ab, to: [a@b]}}]", "`from` holds `ab`, which is not a mail address"),
];

/// The same of the forge's keys, besides those that it needs.
const UNFIT_OF_FORGE: &[(&str, &str)] = &[
    ("quota: {member: 0}", "`forge.quota.member` is 0: nobody could ask for anything"),
    ("quota: {pull_request: 0}", "`forge.quota.pull_request` is 0"),
    ("quota: {member: 99999999999}", "`member` needs a whole number from 0 to 4294967295, not `99999999999`"),
    (
        "poll: {interval: 0s}",
        "`forge.poll.interval` is less than a second: a forge would take that for an attack; 30s is usual",
    ),
    ("poll: {sweep: 0s}", "`forge.poll.sweep` is less than a second"),
    ("poll: {overlap: 0s}", "`forge.poll.overlap` is less than a second"),
    ("poll: {interval: 9000d}", "`forge.poll.interval` is more than a week"),
    ("status_context: ''", "`forge.status_context` is not 1 to 100 letters in one line; `cc-ci/test` is usual"),
    ("status_context: \"a\\nb\"", "`forge.status_context` is not 1 to 100 letters"),
    ("enrol: {topic: 'A topic'}", "`forge.enrol.topic` is no topic that a forge lets one set"),
    ("enrol: {repositories: [a], except: [a]}", "`a` is both in `repositories` and in `except`; take it out of one"),
    ("webhook: {secret_file: secret}", "`forge.webhook.secret_file` is `secret`; name it from the root"),
];

#[test]
fn what_can_be_read_and_cannot_work_is_refused_with_its_place_its_reason_and_what_would() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.yaml");
    let refused = |over: &str, words: &str| {
        let said = said_of(&path, over);
        let placed = said.strip_prefix(path.to_str().unwrap()).unwrap_or_else(|| panic!("{over}: {said}"));
        let place: Vec<&str> = placed.splitn(4, ':').collect();
        assert!(place.len() == 4 && place[1].parse::<u32>().is_ok(), "{over} has a line: {said}");
        assert!(said.contains(words), "{over}: {said}");
    };
    assert_eq!(said_of(&path, "web: {}"), "good");
    for (over, words) in UNFIT {
        refused(over, words);
    }
    for (key, words) in UNFIT_OF_FORGE {
        refused(&format!("forge: {{url: 'https://git.example.org', organisation: x, token_file: /x, {key}}}"), words);
    }
    for (url, words) in [
        ("https://git.example.org?x", "goes on with `?` or `#`"),
        ("https://git.example.org/ ", "is not an http or https address"),
        ("ssh://git.example.org", "is not an http or https address"),
        ("https://git example.org", "is not an http or https address"),
    ] {
        refused(&format!("forge: {{url: '{url}', organisation: x, token_file: /x}}"), words);
    }
    let said = said_of(&path, "forge: {url: 'https://bot:hunter2@git.example.org', organisation: x, token_file: /x}");
    assert!(said.contains("`…@git.example.org` holds a name or password") && !said.contains("hunter2"), "{said}");
}

#[test]
fn what_is_unusual_and_works_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.yaml");
    for over in [
        "web: {listen: '0.0.0.0:8080', url: 'https://ci.example.org/status/'}",
        "web: {listen: '[::1]:8080'}",
        "web: {url: 'HTTPS://ci.example.org'}",
        "runner: {abra: abra, grace: 0s, images: {above: 0, older_than: 0s}}",
        "policy: {registries: ['docker.io', 'localhost:5000', 'registry:5000', 'registry.example.org'], app: {cpus: 0.1}}",
        "proxy: {image: 'registry.example.org:5000/traefik@sha256:0123', address: '[::1]:443'}",
        "notify: [{name: a, webhook: {url: 'https://x.org/hook?token=y', secret_file: /x}}]",
        "notify: [{name: a, mail: {server: '::1', from: 'cc-ci <a@b>', to: [a@b], tls: none}}]",
    ] {
        assert_eq!(said_of(&path, over), "good", "{over}");
    }
}

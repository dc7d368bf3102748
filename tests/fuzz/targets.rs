//! What a stranger can write, and what is promised of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::OnceLock;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use cc_ci::compose::policy::Bounds;
use cc_ci::compose::{self, Compose};
use cc_ci::intake::command::Command;
use cc_ci::intake::{Nudge, webhook};
use cc_ci::model::AppDomain;
use cc_ci::recipe::{self, policy};
use cc_ci::secrets::Secret;
use cc_ci::secrets::redact::Redactor;
use cc_ci::yaml::{self, Node};
use hmac::{Hmac, KeyInit, Mac};
use tower_service::Service;

use crate::case::{Which, cases, corpus};
use crate::driver::Target;

pub(crate) const ALL: &[Target] = &[COMPOSE, POLICY, GRAMMAR, REDACTOR, WEBHOOK];

/// Reading ends, in a tree or an error in its place, and a tree that is written is read back as it was.
pub(crate) const COMPOSE: Target = Target { name: "compose", seeds: recipes, words: YAML, attempt: read };
/// Whatever is allowed, when it is read once more, asks for nothing of the host.
pub(crate) const POLICY: Target = Target { name: "policy", seeds: recipes, words: YAML, attempt: judge };
/// A command that is shown is read back, shows nothing that could do harm, and is none in a quote.
pub(crate) const GRAMMAR: Target = Target { name: "grammar", seeds: comments, words: MARKDOWN, attempt: command };
/// No secret comes through, in any form, wherever the text is cut.
pub(crate) const REDACTOR: Target =
    Target { name: "redactor", seeds: secrets_in_text, words: SECRET_WORDS, attempt: mask };
/// Without our signature nothing is read; with it, nothing but a name is believed.
pub(crate) const WEBHOOK: Target = Target { name: "webhook", seeds: payloads, words: JSON, attempt: hook };

const DOMAIN: &str = "policy.example.com";

const YAML: &[&str] = &[
    "&a",
    "*a",
    "<<: *a",
    "!!str ",
    "!!binary ",
    "!",
    "? ",
    ": ",
    "- ",
    "|",
    ">-",
    "---\n",
    "...\n",
    "%YAML 1.1\n",
    "{",
    "}",
    "[",
    "]",
    "null",
    "~",
    "true",
    "yes",
    "on",
    "0o17",
    "0x10",
    "1e3",
    ".inf",
    "'",
    "\"",
    "\\u2028",
    "\u{feff}",
    "\u{85}",
    "#",
    "${A}",
    "${A:-b}",
    "${A:?}",
    "$$",
    "${A:-${B}}",
    "${STACK_NAME}",
    "${DOMAIN}",
    "services:",
    "volumes:",
    "networks:",
    "configs:",
    "secrets:",
    "deploy:",
    "labels:",
    "privileged: true",
    "cap_add: [ALL]",
    "devices: [/dev/kvm]",
    "pid: host",
    "ipc: host",
    "network_mode: host",
    "userns_mode: host",
    "security_opt: ['seccomp:unconfined']",
    "cgroup_parent: /",
    "sysctls: {a: 1}",
    "- /:/host",
    "- /var/run/docker.sock:/s",
    "type: bind",
    "source: /",
    "target: /x",
    "driver: local",
    "driver_opts: {type: none, o: bind, device: /}",
    "external: true",
    "name: other",
    "ports: ['1:1']",
    "file: /etc/shadow",
    "file: ../x",
    "env_file: /etc/shadow",
    "extends: {service: app}",
    "include: [x]",
    "x-a: &x",
    "environment: []",
    "COMPOSE_FILE=compose.yml:compose.more.yml",
    "STACK_NAME=x",
    "TYPE=tiny:1",
    "export A_VERSION=`id`",
    "\n=== compose.more.yml\n",
    "\n=== .env.sample\n",
    "\n=== abra.sh\n",
];

const MARKDOWN: &[&str] = &[
    "!testme",
    "\n!testme",
    "!testme install",
    " again",
    " from=1.0.0+1",
    " upgrade",
    " cancel",
    " status",
    " help",
    "> ",
    ">",
    "```\n",
    "~~~\n",
    "    ",
    "\t",
    "- ",
    "1. ",
    "# ",
    "\n---\n",
    "\n===\n",
    "| a |\n|---|\n",
    "<b>",
    "</b>",
    "<!--",
    "-->",
    "<pre>\n",
    "[a](b)",
    "![",
    "](",
    "*",
    "**",
    "_",
    "~~",
    "`",
    "\\",
    "&nbsp;",
    "[^1]",
    "\n[^1]: ",
    "\r\n",
    "\r",
    "\u{b}",
    "\u{c}",
    "\u{85}",
    "\u{2028}",
    "\u{a0}",
    "\u{200b}",
    "\u{202e}",
    "\u{0}",
    "\u{1b}[31m",
    "\n\n",
    "> [!NOTE]\n",
    "$",
];

const JSON: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    "\"",
    "\\u0000",
    "\\ud800",
    "\"action\"",
    "\"created\"",
    "\"repository\"",
    "\"full_name\"",
    "null",
    "1e999",
    "recipes/keycloak",
    "../..",
    "a/b/c",
    "/",
    "\\/",
    "-rf",
    ":",
    ",",
    "[[[[[[[[",
    "{\"a\":",
    "true",
    " ",
    "\n",
    "\u{202e}",
];

/// Of awkward kinds: with what is escaped, over lines, one the beginning of another, one that repeats itself.
const SECRETS: &[&str] = &[
    "p/ss \"wörd\"<&>+'",
    "correct horse",
    "correct horse battery",
    "abababababab",
    "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0\nAQEFAASCBKcwggSjAgEAAo\n-----END KEY-----",
    "battery staple",
];

const SECRET_WORDS: &[&str] = &[
    "p/ss \"wörd\"<&>+'",
    "p%2Fss%20%22w%C3%B6rd%22%3C%26%3E%2B%27",
    "p/ss \\\"w",
    "correct horse",
    "correct",
    " horse",
    " battery",
    " staple",
    "Y29ycmVjdCBob3JzZQ==",
    "636f727265637420686f727365",
    "abababababab",
    "abab",
    "[secret s1]",
    "[secret ",
    "]",
    "MIIEvQIBADANBgkqhkiG9w0",
    "\n",
    "\r\n",
    "\\n",
    "AQEFAASCBKcwggSjAgEAAo",
    "-----BEGIN KEY-----",
    "%20",
    "+",
    "\\u00f6",
    "&lt;",
];

/// The corpus of evil recipes and their twins. The files of one stand in one text.
fn recipes() -> Vec<Vec<u8>> {
    let corpus = corpus();
    let both = |which| cases(&corpus).iter().map(|case| packed(&case.files(which))).collect::<Vec<_>>();
    [both(Which::Evil), both(Which::Twin)].concat()
}

fn packed(files: &BTreeMap<String, String>) -> Vec<u8> {
    let files = files.iter().filter(|(name, _)| FILES.contains(&name.as_str()));
    files.map(|(name, text)| format!("\n=== {name}\n{text}")).collect::<String>().into_bytes()
}

const FILES: &[&str] = &["compose.yml", ".env.sample", "abra.sh", "compose.more.yml"];

/// The recipe's directory, made new.
fn unpacked(input: &[u8], dir: &Path) {
    let mut rest = input;
    let mut files: BTreeMap<&str, &[u8]> = BTreeMap::new();
    let heads: Vec<Vec<u8>> = FILES.iter().map(|name| format!("\n=== {name}\n").into_bytes()).collect();
    let mut name = None;
    loop {
        let next = (0..rest.len()).find_map(|at| {
            let head = heads.iter().position(|head| rest[at..].starts_with(head))?;
            Some((at, head))
        });
        let end = next.map_or(rest.len(), |(at, _)| at);
        if let Some(name) = name {
            files.insert(name, &rest[..end]);
        }
        let Some((at, head)) = next else { break };
        name = Some(FILES[head]);
        rest = &rest[at + heads[head].len()..];
    }
    for (name, bytes) in files {
        std::fs::write(dir.join(name), bytes).unwrap();
    }
}

fn read(input: &[u8]) -> String {
    let dir = tempfile::tempdir().unwrap();
    unpacked(input, dir.path());
    let files: Vec<String> = ["compose.yml", "compose.more.yml"]
        .into_iter()
        .filter(|name| *name == "compose.yml" || dir.path().join(name).exists())
        .map(str::to_owned)
        .collect();
    let env = [("DOMAIN", DOMAIN), ("STACK_NAME", "policy_example_com"), ("A", "a: &a"), ("B", "${A}")];
    let env = env.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    match compose::load(dir.path(), &files, &env) {
        Ok(compose) => {
            is_read_back(&compose);
            format!("{} services, {} values", compose.services().len(), compose.tree().count().ilog2())
        }
        Err(error) => {
            assert!(error.place.as_ref().is_none_or(|place| place.line > 0), "no place: {error}");
            let rule = format!("{:?}", error.rule);
            let kind = rule.split('(').next().unwrap_or_default().to_owned();
            // The text names what stands in the file; its first and last words do not.
            let words: Vec<&str> = error.message.split(' ').collect();
            format!("{kind} {}", words[words.len().saturating_sub(2)..].join(" "))
        }
    }
}

fn is_read_back(compose: &Compose) -> Node {
    let text = compose.render();
    let again = yaml::parse("rendered.yml", &text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(text, yaml::render(&again), "it is another one when it is read again");
    again
}

fn judge(input: &[u8]) -> String {
    let dir = tempfile::tempdir().unwrap();
    unpacked(input, dir.path());
    let domain: AppDomain = DOMAIN.parse().unwrap();
    let verdict = match policy::examine(dir.path(), &domain, &BTreeMap::new(), &Bounds::default(), &[]) {
        Ok(verdict) => verdict,
        Err(error) => return format!("unreadable {}", error.to_string().len() % 8),
    };
    if !verdict.is_allowed() {
        let rules: std::collections::BTreeSet<&str> = verdict.findings.iter().map(|finding| finding.rule).collect();
        return rules.into_iter().collect::<Vec<_>>().join(" ");
    }
    // A recipe without a name is judged by its compose file alone.
    let Ok(recipe) = recipe::open(dir.path()) else { return "allowed, nameless".into() };
    let env = policy::as_deployed(&recipe.env_for(&domain), &domain, &BTreeMap::new());
    let said = recipe.say_unchecked(&env, DOMAIN).expect("what is allowed is read");
    asks_for_nothing(&is_read_back(&said.compose), dir.path());
    format!("allowed, {} services", said.compose.services().len())
}

/// Whether [`asks_for_nothing`] objects to a recipe.
pub(crate) fn is_objected_to(files: &BTreeMap<String, String>) -> bool {
    let dir = tempfile::tempdir().unwrap();
    unpacked(&packed(files), dir.path());
    let (Ok(recipe), Ok(domain)) = (recipe::open(dir.path()), DOMAIN.parse::<AppDomain>()) else { return false };
    let env = policy::as_deployed(&recipe.env_for(&domain), &domain, &BTreeMap::new());
    let Ok(said) = recipe.say_unchecked(&env, DOMAIN) else { return false };
    let tree = is_read_back(&said.compose);
    std::panic::catch_unwind(|| asks_for_nothing(&tree, dir.path())).is_err()
}

/// Written without the rules, over the text that would be deployed.
fn asks_for_nothing(tree: &Node, dir: &Path) {
    let entries = |key: &str| tree.get(key).and_then(Node::as_map).unwrap_or_default();
    let is_empty = |node: &Node| {
        node.is_null() || node.as_seq().is_some_and(<[_]>::is_empty) || node.as_map().is_some_and(<[_]>::is_empty)
    };
    for (name, service) in entries("services") {
        for key in ["cap_add", "devices", "sysctls", "ports"] {
            assert!(service.get(key).is_none_or(is_empty), "{name:?} has {key}");
        }
        for key in ["pid", "userns_mode", "cgroup_parent"] {
            assert!(service.get(key).is_none_or(|node| node.scalar().is_none_or(str::is_empty)), "{name:?} has {key}");
        }
        for (key, word) in [("privileged", "true"), ("network_mode", "host"), ("ipc", "host")] {
            assert!(service.get(key).and_then(Node::scalar) != Some(word), "{name:?}: {key}: {word}");
        }
        for mount in service.get("volumes").and_then(Node::as_seq).unwrap_or_default() {
            let source = mount.get("source").and_then(Node::scalar).unwrap_or_default();
            assert!(
                mount.get("type").and_then(Node::scalar).is_none_or(|kind| kind == "volume" || kind == "tmpfs"),
                "{mount:?}"
            );
            assert!(!source.contains(['/', '\\', '~']) && !source.starts_with('.'), "{mount:?}");
        }
    }
    for (name, volume) in entries("volumes") {
        let device = volume.at(&["driver_opts", "device"]).and_then(Node::scalar);
        assert!(matches!(device, None | Some("tmpfs")), "{name:?} mounts {device:?}");
    }
    for section in ["volumes", "networks", "configs", "secrets"] {
        for (key, object) in entries(section) {
            let name = object.get("name").or(object.at(&["external", "name"])).and_then(Node::scalar);
            let own = |name: &str| name.starts_with("policy_example_com_") || section == "networks" && name == "proxy";
            let taken = object.get("external").is_some_and(|node| node.as_bool() != Some(false));
            let name = name.filter(|name| !name.is_empty()).or(key.scalar().filter(|_| taken));
            assert!(name.is_none_or(own), "{section} {name:?}");
            if let Some(file) = object.get("file").and_then(Node::scalar) {
                let real = dir.join(file).canonicalize().unwrap();
                assert!(real.starts_with(dir.canonicalize().unwrap()), "{section} {file}");
            }
        }
    }
}

fn comments() -> Vec<Vec<u8>> {
    let comments = [
        "!testme",
        "Thank you!\n!testme install",
        "> !testme\n\n!testme upgrade from=1.0.0+2.0 again",
        "```\n!testme\n```\n!testme what",
    ];
    comments.map(|text| text.as_bytes().to_vec()).to_vec()
}

fn command(input: &[u8]) -> String {
    let text = String::from_utf8_lossy(input);
    let Some(command) = Command::find(&text) else { return format!("none {}", text.contains("!testme")) };
    let shown = command.to_string();
    assert_eq!(Command::read(&shown).as_ref(), Some(&command), "{shown:?}");
    assert!(shown.chars().count() <= 200 && !shown.contains(char::is_control), "{shown:?}");
    let quoted: String = text.split(['\n', '\r']).map(|line| format!("> {line}\n")).collect();
    assert_eq!(Command::find(&quoted), None, "{quoted:?}");
    match command {
        Command::Unknown(words) => format!("unknown {}", words.split(' ').count()),
        known => known.to_string().split("from=").next().unwrap_or_default().to_owned(),
    }
}

fn secrets_in_text() -> Vec<Vec<u8>> {
    let mut texts: Vec<Vec<u8>> = SECRETS.iter().map(|secret| format!("a {secret} b").into_bytes()).collect();
    texts.extend(SECRETS.iter().flat_map(|secret| forms(secret)).map(String::into_bytes));
    texts
}

/// Written without the redactor's own.
fn forms(secret: &str) -> Vec<String> {
    let json = serde_json::to_string(secret).unwrap();
    let percent = secret.bytes().map(|byte| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    });
    let base64 = [STANDARD.encode(secret), URL_SAFE.encode(secret)].map(|text| text.trim_end_matches('=').to_owned());
    let mut forms = vec![secret.to_owned(), hex::encode(secret), json[1..json.len() - 1].to_owned(), percent.collect()];
    forms.extend(base64);
    forms
}

fn mask(input: &[u8]) -> String {
    static KNOWING: OnceLock<(Redactor, Vec<Vec<u8>>)> = OnceLock::new();
    let (redactor, forms) = KNOWING.get_or_init(|| {
        let redactor = Redactor::new();
        for (number, secret) in SECRETS.iter().enumerate() {
            redactor.register(&format!("s{number}"), &Secret::new(*secret));
        }
        (redactor, SECRETS.iter().flat_map(|secret| forms(secret)).map(String::into_bytes).collect())
    });
    let whole = redactor.mask_bytes(input);
    for form in forms {
        let shown = whole.windows(form.len()).any(|window| window == form);
        assert!(!shown, "{} comes through: {}", String::from_utf8_lossy(form), String::from_utf8_lossy(&whole));
    }
    for size in [1, 2, 3, 7, 64] {
        let (mut masker, mut pieces) = (redactor.stream(), Vec::new());
        for piece in input.chunks(size) {
            masker.push(piece, &mut pieces);
        }
        masker.finish(&mut pieces);
        assert_eq!(String::from_utf8_lossy(&pieces), String::from_utf8_lossy(&whole), "in pieces of {size}");
    }
    let masks = String::from_utf8_lossy(&whole).matches("[secret s").count();
    format!("{} masks, {}", masks.min(12), input.len().min(whole.len()).checked_ilog2().unwrap_or_default())
}

fn payloads() -> Vec<Vec<u8>> {
    let comment = r#"{"action":"created","repository":{"full_name":"recipes/keycloak"}}"#;
    let more = r#"{"action":"edited","comment":{"body":"!testme\n","id":1},"repository":{"id":3,"full_name":"recipes/app","private":false}}"#;
    vec![comment.as_bytes().to_vec(), more.as_bytes().to_vec(), b"{}".to_vec()]
}

fn hook(input: &[u8]) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let answer = |signature: String| {
        let mut router = webhook::router(Some(Secret::new("hook secret")), Nudge::default());
        let request =
            Request::post("/hook").header("x-gitea-event", "issue_comment").header("x-gitea-signature", signature);
        runtime.block_on(router.call(request.body(Body::from(input.to_vec())).unwrap())).unwrap().status()
    };
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(b"hook secret").unwrap();
    mac.update(input);
    let good = hex::encode(mac.finalize().into_bytes());
    let bad = [
        String::new(),
        "00".repeat(32),
        good[2..].to_owned(),
        String::from_utf8_lossy(input).escape_default().take(200).collect(),
    ];
    for signature in bad {
        assert_eq!(answer(signature), StatusCode::UNAUTHORIZED);
    }
    let status = answer(good);
    let says = |name: &str| {
        serde_json::from_slice::<serde_json::Value>(input)
            .ok()
            .and_then(|json| Some(json.pointer(name)?.as_str()?.to_owned()))
    };
    // A list in the order of the fields is read too.
    if let (StatusCode::ACCEPTED, Some(name)) = (status, says("/repository/full_name")) {
        assert_eq!(says("/action").as_deref(), Some("created"));
        let harmless = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
        let parts: Vec<&str> = name.split('/').collect();
        let plain =
            |part: &&str| part.chars().all(harmless) && !matches!(*part, "" | "." | "..") && !part.starts_with('-');
        assert!(parts.len() == 2 && parts.iter().all(plain), "{name:?}");
    }
    format!("{status} {}", says("/action").is_some())
}

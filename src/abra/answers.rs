//! What abra says, read with tolerance. Its exit code is 0 or 1 and nothing in between, its fatal lines go to standard output,
//! and what `-m` prints differs between versions: so JSON is looked for rather than expected, keys are compared without case,
//! arrays and objects are both taken, and errors are told apart by their text, with a class for what nobody has seen yet.

use std::borrow::Cow;

use serde_json::Value;

use crate::secrets::Secret;

/// Who is to blame for a failed call, and in which words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Class {
    /// The recipe.
    Recipe(String),
    /// The machine, the registry or the network.
    Infra(String),
    /// Nothing is deployed under that domain; a teardown may find that.
    NotDeployed,
    /// What is to be made is there.
    Exists,
    /// Not in the table; the last lines are all there is.
    Unknown,
}

/// Makes a class of the rest of the line.
type Reader = fn(&str) -> Class;

/// Substrings of what abra or Docker says, most telling first.
const TEXTS: &[(&str, Reader)] = &[
    ("secret not inserted (#generate=false):", |rest| {
        Class::Recipe(format!(
            "the secret `{}` is not generated (generate=false in .env.sample), and nothing gives its value, so the recipe cannot be deployed as it is",
            rest.trim()
        ))
    }),
    ("secret not generated:", |rest| {
        Class::Recipe(format!(
            "the secret `{}` was not generated; its SECRET_…_VERSION line in .env.sample is missing or commented out",
            rest.trim()
        ))
    }),
    ("only updates to Labels are allowed", |_| {
        Class::Recipe(
            "a config's content changed but its version did not; raise its …_VERSION in abra.sh (Swarm cannot change a config in place)".into(),
        )
    }),
    ("toomanyrequests", |_| {
        Class::Infra("the registry answers no more (too many requests); the run says nothing about the recipe".into())
    }),
    ("Cannot connect to the Docker daemon", |_| {
        Class::Infra("Docker does not answer; look at `systemctl status docker`".into())
    }),
    ("is the docker daemon running", |_| {
        Class::Infra("Docker does not answer; look at `systemctl status docker`".into())
    }),
    ("no space left on device", |_| Class::Infra("the disk is full; make room and ask again".into())),
    ("This node is not a swarm manager", |_| {
        Class::Infra("this machine's Docker is no Swarm manager; run `cc-ci reconcile swarm`".into())
    }),
    ("network \"proxy\" is declared as external, but could not be found", |_| {
        Class::Infra("the overlay network `proxy` is missing; run `cc-ci reconcile swarm`".into())
    }),
    ("authentication required", |_| {
        Class::Infra("abra went to a remote that wants a login, though it was told to stay offline".into())
    }),
    ("only 64 ", |_| {
        Class::Recipe(
            "a config's or secret's name is longer than the 64 characters that Swarm allows; shorten it".into(),
        )
    }),
    ("Does not match format", |_| {
        Class::Recipe(
            "a compose file does not keep to the schema (abra checks it before variables are filled in)".into(),
        )
    }),
    ("no services deployed matching label", |_| {
        Class::Infra("there is no backup service on this Swarm; run `cc-ci reconcile backupbot`".into())
    }),
    ("no running container of the backup service", |_| {
        Class::Infra("the backup service does not run; run `cc-ci reconcile backupbot`".into())
    }),
    ("repository is already locked", |_| {
        Class::Infra("the repository of the backup service stayed locked by somebody else; `restic unlock` frees it when nobody uses it".into())
    }),
    ("Failed to run command", |rest| Class::Recipe(format!("a backup or restore hook failed: {}", rest.trim()))),
    ("is not running", |_| {
        Class::Recipe("the container of a backup or restore hook was not running when it was its turn".into())
    }),
    ("so there is nothing to keep of it", |_| {
        Class::Recipe("what the labels say is to be kept is not there when the backup is made".into())
    }),
    ("is on no volume of it", |_| {
        Class::Recipe("a `backupbot.backup.path` names something that is on no volume".into())
    }),
    ("is not deployed", |_| Class::NotDeployed),
    ("Nothing found in stack", |_| Class::NotDeployed),
    ("already exists", |_| Class::Exists),
    ("AlreadyExists", |_| Class::Exists),
];

/// What a failed call means.
pub fn classify(text: &str) -> Class {
    let text = plain(text);
    for (part, class) in TEXTS {
        if let Some(line) = text.lines().map(message).find(|line| line.contains(part)) {
            let rest = line.split_once(part).map_or("", |(_, rest)| rest);
            return class(rest);
        }
    }
    Class::Unknown
}

/// What a line says: the backup service's are JSON, as it is asked for.
fn message(line: &str) -> Cow<'_, str> {
    let json = line.trim_start().starts_with('{').then(|| serde_json::from_str::<Value>(line).ok()).flatten();
    match json.as_ref().and_then(|json| json.get("message")?.as_str()) {
        Some(message) => Cow::Owned(message.to_owned()),
        None => Cow::Borrowed(line),
    }
}

/// What the backup service complained about last.
pub fn complaint(text: &str) -> Option<String> {
    let error = |line: &str| {
        let json: Value = serde_json::from_str(line.trim_start_matches("^@")).ok()?;
        (json.get("levelname")? == "ERROR").then(|| json.get("message")?.as_str().map(str::to_owned))?
    };
    plain(text).lines().rev().find_map(error)
}

/// Whether the backup service went on though a hook had failed: upstream's ends well all the same.
pub fn a_hook_failed(text: &str) -> bool {
    plain(text).contains("Failed to run command")
}

/// The fatal line if there is one, without its `FATA`; else the last line that says something.
pub fn telling_line(text: &str) -> Option<String> {
    let text = plain(text);
    let fatal = text.lines().find_map(|line| line.trim_start().strip_prefix("FATA").map(str::trim));
    fatal
        .or_else(|| text.lines().rev().map(str::trim).find(|line| !line.is_empty()))
        .map(|line| line.chars().take(300).collect())
}

/// Text without ANSI sequences and other control characters, lines kept.
pub fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => match chars.peek() {
                // CSI: parameters, then one final character.
                Some('[') => {
                    chars.next();
                    while chars.next().is_some_and(|c| !('\u{40}'..='\u{7e}').contains(&c)) {}
                }
                // OSC: up to BEL or ESC \.
                Some(']') => {
                    while let Some(c) = chars.next() {
                        if c == '\u{7}' || (c == '\u{1b}' && chars.next_if_eq(&'\\').is_some()) {
                            break;
                        }
                    }
                }
                _ => {
                    chars.next();
                }
            },
            '\n' | '\t' => out.push(c),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

/// The first JSON array or object that begins a line, on whichever stream; log lines around it do not matter.
pub fn find_json(streams: &[&str]) -> Option<Value> {
    streams.iter().find_map(|text| {
        let text = plain(text);
        let mut from = 0;
        for line in text.split_inclusive('\n') {
            let start = from + (line.len() - line.trim_start().len());
            from += line.len();
            if !line.trim_start().starts_with(['{', '[']) {
                continue;
            }
            let mut values = serde_json::Deserializer::from_str(&text[start..]).into_iter::<Value>();
            if let Some(Ok(value @ (Value::Array(_) | Value::Object(_)))) = values.next() {
                return Some(value);
            }
        }
        None
    })
}

/// Names and values that `secret generate` printed: as JSON, or as the table it draws without `-m`.
pub fn generated_secrets(stdout: &str, stderr: &str) -> Vec<(String, Secret)> {
    if let Some(value) = find_json(&[stdout, stderr]) {
        return secrets_in(&value);
    }
    let rows = secrets_in_table(stdout);
    if rows.is_empty() { secrets_in_table(stderr) } else { rows }
}

fn secrets_in(value: &Value) -> Vec<(String, Secret)> {
    match value {
        Value::Array(rows) => rows.iter().filter_map(|row| named_secret(row, None)).collect(),
        Value::Object(rows) => {
            if let Some(one) = named_secret(value, None) {
                return vec![one];
            }
            rows.iter()
                .flat_map(|(name, row)| match row {
                    Value::String(text) => vec![(name.clone(), Secret::new(text.as_str()))],
                    Value::Array(_) => secrets_in(row),
                    row => named_secret(row, Some(name)).into_iter().collect(),
                })
                .collect()
        }
        _ => Vec::new(),
    }
}

fn named_secret(row: &Value, outer: Option<&str>) -> Option<(String, Secret)> {
    let row = row.as_object()?;
    let get =
        |key: &str| row.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)).and_then(|(_, value)| value.as_str());
    let name = get("name").or(outer)?;
    let value = get("value").or_else(|| get("secret"))?;
    Some((name.to_owned(), Secret::new(value)))
}

/// Rows between box-drawing or ASCII bars, under a heading that names the columns.
fn secrets_in_table(text: &str) -> Vec<(String, Secret)> {
    let text = plain(text);
    let mut columns: Option<(usize, usize)> = None;
    let mut found = Vec::new();
    for line in text.lines() {
        let line = line.trim();
        if !line.starts_with(['│', '|', '┃', '║']) {
            continue;
        }
        let cells: Vec<&str> =
            line.trim_matches(['│', '|', '┃', '║']).split(['│', '|', '┃', '║']).map(str::trim).collect();
        let at = |key: &str| cells.iter().position(|cell| cell.eq_ignore_ascii_case(key));
        match columns {
            None => columns = at("name").zip(at("value")),
            Some((name, value)) => {
                if let (Some(name), Some(value)) = (cells.get(name), cells.get(value))
                    && is_secret_name(name)
                    && !value.is_empty()
                {
                    found.push(((*name).to_owned(), Secret::new(*value)));
                }
            }
        }
    }
    found
}

fn is_secret_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
}

/// Whether a help text lists a flag, long (`--chaos`) or short (`-C`).
pub fn lists_flag(help: &str, flag: &str) -> bool {
    plain(help)
        .lines()
        .filter(|line| line.trim_start().starts_with('-'))
        .any(|line| line.split([' ', ',', '=', '[', '\t', '|']).any(|word| word == flag))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(stdout: &str, stderr: &str) -> Vec<(String, String)> {
        generated_secrets(stdout, stderr).into_iter().map(|(name, value)| (name, value.expose().to_owned())).collect()
    }

    #[test]
    fn secrets_are_read_in_every_form_that_was_seen_or_feared() {
        let expected = vec![("db_password".to_owned(), "hunter2hunter2".to_owned())];
        for (stdout, stderr) in [
            (r#"[{"name":"db_password","value":"hunter2hunter2"}]"#, ""),
            (r#"{"db_password":{"value":"hunter2hunter2"}}"#, ""),
            (r#"{"db_password":"hunter2hunter2"}"#, ""),
            (r#"{"secrets":[{"Name":"db_password","VALUE":"hunter2hunter2"}]}"#, ""),
            ("INFO generating\n[{\"name\":\"db_password\",\n\"value\":\"hunter2hunter2\"}]\nWARN done\n", ""),
            ("", "\u{1b}[1mINFO\u{1b}[0m x\n[{\"name\":\"db_password\",\"value\":\"hunter2hunter2\",\"new\":1}]"),
            ("[INFO] a line that only looks like JSON\n[{\"name\":\"db_password\",\"value\":\"hunter2hunter2\"}]", ""),
            ("┌──┐\n│ NAME │ VALUE │\n├──┤\n│ db_password │ hunter2hunter2 │\n└──┘\n", ""),
            ("| name | value |\n|------|-------|\n| db_password | hunter2hunter2 |\n", ""),
        ] {
            assert_eq!(read(stdout, stderr), expected, "{stdout}{stderr}");
        }
        assert!(read("WARN secrets already exist\n", "").is_empty());
        assert!(read("[]", "").is_empty());
    }

    #[test]
    fn errors_are_told_apart_by_their_text() {
        let class = classify("FATA no running container of the backup service bot_ci_test_app\n");
        assert!(matches!(&class, Class::Infra(words) if words.contains("reconcile backupbot")), "{class:?}");
        let class = classify("\u{1b}[31mFATA\u{1b}[0m secret not inserted (#generate=false): smtp_password\n");
        assert!(matches!(&class, Class::Recipe(words) if words.contains("`smtp_password`")), "{class:?}");
        assert!(matches!(classify("toomanyrequests: You have reached"), Class::Infra(_)));
        let hook =
            "{\"levelname\":\"ERROR\",\"message\":\"Failed to run command dump in db: it ended with 1: \\\"no\\\"\"}";
        assert!(a_hook_failed(hook));
        let said = format!("^@{hook}\nFATA see above\n");
        assert_eq!(complaint(&said).unwrap(), "Failed to run command dump in db: it ended with 1: \"no\"");
        let Class::Recipe(words) = classify(hook) else { panic!("{hook}") };
        assert_eq!(words, "a backup or restore hook failed: dump in db: it ended with 1: \"no\"");
        assert_eq!(classify("FATA cust-1.ci.test is not deployed?"), Class::NotDeployed);
        assert_eq!(classify("FATA the moon is in the wrong house"), Class::Unknown);
        assert_eq!(
            telling_line("INFO a\nFATA the moon is in the wrong house\nmore").as_deref(),
            Some("the moon is in the wrong house")
        );
    }

    #[test]
    fn a_flag_counts_only_where_flags_are_listed() {
        let help = "Use --chaos with care\n\nFlags:\n  -C, --chaos   ignore\n  -s, --server string\n      --no-converge-checks\n";
        assert!(lists_flag(help, "--chaos") && lists_flag(help, "-C") && lists_flag(help, "--no-converge-checks"));
        assert!(!lists_flag("Use --chaos with care\n", "--chaos") && !lists_flag(help, "--no"));
    }

    proptest::proptest! {
        #[test]
        fn nothing_that_abra_says_makes_reading_panic(text in "(?s).{0,200}") {
            let _ = (classify(&text), telling_line(&text), find_json(&[&text]), read(&text, &text), lists_flag(&text, "-C"));
        }
    }
}

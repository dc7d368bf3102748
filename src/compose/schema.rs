//! What a stack file may hold, checked before variables are filled in, since that is when abra checks it: a recipe that
//! says `start_period: ${X:-5m}` never deploys, whatever X is. Messages are those of Docker's reader, so that people find them.
//!
//! The rules are those of versions 3.0 to 3.13 of the format together; [`NEEDS`] says what came when.

use crate::yaml::{Node, Span, Value};

/// Something that does not fit.
#[derive(Debug, PartialEq)]
pub(super) struct Misfit {
    pub span: Span,
    /// `services.app.healthcheck.start_period`.
    pub path: String,
    /// "Does not match format 'duration'".
    pub what: String,
    /// The key that the format does not know, if that is it.
    pub key: Option<String>,
}

enum Rule {
    Str,
    Bool,
    Int,
    Num,
    StrOrNull,
    StrOrNum,
    StrOrNumOrNull,
    Duration,
    Order,
    /// No two alike.
    Set(&'static Rule),
    List(&'static Rule),
    Keys(&'static [(&'static str, Rule)], Extra),
    /// Keys of letters, digits, `.`, `_` and `-`.
    Named(&'static Rule),
    /// Any keys.
    Each(&'static Rule),
    OrNull(&'static Rule),
    Either(&'static [Rule], &'static str),
}

/// Keys besides the known ones.
#[derive(PartialEq)]
enum Extra {
    No,
    X,
    Yes,
}

use Rule::{
    Bool, Duration, Each, Either, Int, Keys, List, Named, Num, OrNull, Order, Set, Str, StrOrNull, StrOrNum,
    StrOrNumOrNull,
};

const STRINGS: Rule = Set(&Str);
const LIST_OR_DICT: Rule = Either(&[Each(&StrOrNumOrNull), Set(&Str)], "mapping or list");
const STRING_OR_LIST: Rule = Either(&[Str, STRINGS], "string or list");
const COMMAND: Rule = Either(&[Str, List(&Str)], "string or list");
const FILE_REFERENCE: Rule = Either(
    &[Str, Keys(&[("source", Str), ("target", Str), ("uid", Str), ("gid", Str), ("mode", Num)], Extra::Yes)],
    "string or mapping",
);
const EXTERNAL: Rule = Either(&[Bool, Keys(&[("name", Str)], Extra::No)], "boolean or mapping");
const UPDATE: Rule = Keys(
    &[
        ("parallelism", Int),
        ("delay", Duration),
        ("failure_action", Str),
        ("monitor", Duration),
        ("max_failure_ratio", Num),
        ("order", Order),
    ],
    Extra::No,
);
const GENERIC_RESOURCES: Rule =
    List(&Keys(&[("discrete_resource_spec", Keys(&[("kind", Str), ("value", Num)], Extra::No))], Extra::No));
const RESOURCES: Rule = Keys(
    &[
        ("limits", Keys(&[("cpus", Str), ("memory", Str), ("pids", Int)], Extra::No)),
        ("reservations", Keys(&[("cpus", Str), ("memory", Str), ("generic_resources", GENERIC_RESOURCES)], Extra::No)),
    ],
    Extra::No,
);
const PLACEMENT: Rule = Keys(
    &[
        ("constraints", List(&Str)),
        ("preferences", List(&Keys(&[("spread", Str)], Extra::No))),
        ("max_replicas_per_node", Int),
    ],
    Extra::No,
);
const DEPLOY: Rule = OrNull(&Keys(
    &[
        ("mode", Str),
        ("endpoint_mode", Str),
        ("replicas", Int),
        ("labels", LIST_OR_DICT),
        ("rollback_config", UPDATE),
        ("update_config", UPDATE),
        ("resources", RESOURCES),
        (
            "restart_policy",
            Keys(&[("condition", Str), ("delay", Duration), ("max_attempts", Int), ("window", Duration)], Extra::No),
        ),
        ("placement", PLACEMENT),
    ],
    Extra::No,
));
const BUILD: Rule = Either(
    &[
        Str,
        Keys(
            &[
                ("context", Str),
                ("dockerfile", Str),
                ("args", LIST_OR_DICT),
                ("labels", LIST_OR_DICT),
                ("cache_from", STRINGS),
                ("network", Str),
                ("target", Str),
                ("shm_size", StrOrNum),
                ("extra_hosts", LIST_OR_DICT),
            ],
            Extra::Yes,
        ),
    ],
    "string or mapping",
);
const HEALTHCHECK: Rule = Keys(
    &[
        ("disable", Bool),
        ("interval", Duration),
        ("retries", Num),
        ("test", COMMAND),
        ("timeout", Duration),
        ("start_period", Duration),
        ("start_interval", Duration),
    ],
    Extra::No,
);
const NETWORK_USE: Rule = Either(
    &[
        Named(&OrNull(&Keys(
            &[("aliases", STRINGS), ("driver_opts", Each(&StrOrNum)), ("ipv4_address", Str), ("ipv6_address", Str)],
            Extra::No,
        ))),
        STRINGS,
    ],
    "mapping or list",
);
const PORT: Rule = Either(
    &[Num, Str, Keys(&[("mode", Str), ("target", Int), ("published", Int), ("protocol", Str)], Extra::No)],
    "number, string or mapping",
);
const MOUNT: Rule = Either(
    &[
        Str,
        Keys(
            &[
                ("type", Str),
                ("source", Str),
                ("target", Str),
                ("read_only", Bool),
                ("consistency", Str),
                ("bind", Keys(&[("propagation", Str)], Extra::Yes)),
                ("volume", Keys(&[("nocopy", Bool)], Extra::Yes)),
                ("tmpfs", Keys(&[("size", Int)], Extra::Yes)),
            ],
            Extra::No,
        ),
    ],
    "string or mapping",
);
const ULIMIT: Rule = Either(&[Int, Keys(&[("hard", Int), ("soft", Int)], Extra::No)], "integer or mapping");
const SERVICE: Rule = Keys(
    &[
        ("deploy", DEPLOY),
        ("build", BUILD),
        ("cap_add", STRINGS),
        ("cap_drop", STRINGS),
        ("cgroupns_mode", Str),
        ("cgroup_parent", Str),
        ("command", COMMAND),
        ("configs", List(&FILE_REFERENCE)),
        ("container_name", Str),
        ("credential_spec", Keys(&[("config", Str), ("file", Str), ("registry", Str)], Extra::No)),
        ("depends_on", STRINGS),
        ("devices", STRINGS),
        ("dns", STRING_OR_LIST),
        ("dns_search", STRING_OR_LIST),
        ("domainname", Str),
        ("entrypoint", COMMAND),
        ("env_file", STRING_OR_LIST),
        ("environment", LIST_OR_DICT),
        ("expose", Set(&StrOrNum)),
        ("external_links", STRINGS),
        ("extra_hosts", LIST_OR_DICT),
        ("group_add", Set(&StrOrNum)),
        ("healthcheck", HEALTHCHECK),
        ("hostname", Str),
        ("image", Str),
        ("init", Bool),
        ("ipc", Str),
        ("isolation", Str),
        ("labels", LIST_OR_DICT),
        ("links", STRINGS),
        ("logging", Keys(&[("driver", Str), ("options", Each(&StrOrNumOrNull))], Extra::No)),
        ("mac_address", Str),
        ("network_mode", Str),
        ("networks", NETWORK_USE),
        ("oom_score_adj", Int),
        ("pid", StrOrNull),
        ("ports", Set(&PORT)),
        ("privileged", Bool),
        ("profiles", STRINGS),
        ("read_only", Bool),
        ("restart", Str),
        ("secrets", List(&FILE_REFERENCE)),
        ("security_opt", STRINGS),
        ("shm_size", StrOrNum),
        ("stdin_open", Bool),
        ("stop_grace_period", Duration),
        ("stop_signal", Str),
        ("sysctls", LIST_OR_DICT),
        ("tmpfs", STRING_OR_LIST),
        ("tty", Bool),
        ("ulimits", Each(&ULIMIT)),
        ("user", Str),
        ("userns_mode", Str),
        ("volumes", List(&MOUNT)),
        ("working_dir", Str),
    ],
    Extra::X,
);
const NETWORK: Rule = OrNull(&Keys(
    &[
        ("name", Str),
        ("driver", Str),
        ("driver_opts", Each(&StrOrNum)),
        ("ipam", Keys(&[("driver", Str), ("config", List(&Keys(&[("subnet", Str)], Extra::No)))], Extra::No)),
        ("external", EXTERNAL),
        ("internal", Bool),
        ("attachable", Bool),
        ("labels", LIST_OR_DICT),
    ],
    Extra::X,
));
const VOLUME: Rule = OrNull(&Keys(
    &[
        ("name", Str),
        ("driver", Str),
        ("driver_opts", Each(&StrOrNum)),
        ("external", EXTERNAL),
        ("labels", LIST_OR_DICT),
    ],
    Extra::X,
));
const FILE_OBJECT: Rule = Keys(
    &[
        ("name", Str),
        ("file", Str),
        ("external", EXTERNAL),
        ("labels", LIST_OR_DICT),
        ("driver", Str),
        ("driver_opts", Each(&StrOrNum)),
        ("template_driver", Str),
    ],
    Extra::X,
);
static FILE: Rule = Keys(
    &[
        ("version", Str),
        ("services", Named(&SERVICE)),
        ("networks", Named(&NETWORK)),
        ("volumes", Named(&VOLUME)),
        ("secrets", Named(&FILE_OBJECT)),
        ("configs", Named(&FILE_OBJECT)),
    ],
    Extra::X,
);

/// The lowest minor version of format 3 that takes a key; Docker's client refuses it below. `*` is a name people chose.
const NEEDS: &[(&[&str], u32)] = &[
    (&["secrets"], 1),
    (&["services", "*", "secrets"], 1),
    (&["configs"], 3),
    (&["services", "*", "configs"], 3),
    (&["services", "*", "healthcheck", "start_period"], 4),
    (&["services", "*", "deploy", "update_config", "order"], 4),
    (&["services", "*", "init"], 7),
    (&["services", "*", "deploy", "rollback_config"], 7),
    (&["configs", "*", "template_driver"], 8),
    (&["secrets", "*", "template_driver"], 8),
    (&["services", "*", "deploy", "placement", "max_replicas_per_node"], 8),
    (&["services", "*", "deploy", "resources", "limits", "pids"], 9),
    (&["services", "*", "profiles"], 9),
    (&["services", "*", "healthcheck", "start_interval"], 12),
    (&["services", "*", "group_add"], 13),
    (&["services", "*", "oom_score_adj"], 13),
];

/// Checks one file as it was written.
pub(super) fn check(root: &Node) -> Result<(), Misfit> {
    FILE.check(root, "")
}

/// The lowest minor version of format 3 that takes everything in the file, and what asks for it.
pub(super) fn needs(root: &Node) -> (u32, Option<Misfit>) {
    let mut most = (0, None);
    for (path, version) in NEEDS {
        if *version > most.0
            && let Some((span, path)) = find(root, path, String::new())
        {
            let (parent, key) = path.rsplit_once('.').unwrap_or(("(root)", &path));
            let what = format!("Additional property {key} is not allowed");
            most = (*version, Some(Misfit { span, path: parent.to_owned(), what, key: None }));
        }
    }
    most
}

fn find(node: &Node, path: &[&str], at: String) -> Option<(Span, String)> {
    let (first, rest) = path.split_first()?;
    let entries = node.as_map()?.iter().filter(|(key, _)| *first == "*" || key.scalar() == Some(first));
    for (key, value) in entries {
        let at = join(&at, key.scalar().unwrap_or_default());
        if rest.is_empty() {
            return Some((key.span, at));
        }
        if let Some(found) = find(value, rest, at) {
            return Some(found);
        }
    }
    None
}

pub(super) fn join(path: &str, key: &str) -> String {
    let key = shown(key);
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

fn shown(key: &str) -> String {
    key.chars().take(80).flat_map(char::escape_debug).collect()
}

impl Rule {
    fn fits_type(&self, node: &Node) -> bool {
        match (self, &node.value) {
            (Str | Duration | Order | StrOrNull | StrOrNum | StrOrNumOrNull, Value::String(_))
            | (Bool, Value::Bool(_))
            | (Int | Num | StrOrNum | StrOrNumOrNull, Value::Int(_))
            | (Num | StrOrNum | StrOrNumOrNull, Value::Float(_))
            | (StrOrNull | StrOrNumOrNull | OrNull(_), Value::Null)
            | (Set(_) | List(_), Value::Seq(_))
            | (Keys(..) | Named(_) | Each(_), Value::Map(_)) => true,
            (Int, Value::Float(text)) => text.parse::<f64>().is_ok_and(|number| number.fract() == 0.0),
            (OrNull(rule), _) => rule.fits_type(node),
            (Either(rules, _), _) => rules.iter().any(|rule| rule.fits_type(node)),
            _ => false,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Str | Duration | Order => "string",
            Bool => "boolean",
            Int => "integer",
            Num => "number",
            StrOrNull => "string or null",
            StrOrNum => "string or number",
            StrOrNumOrNull => "string, number or null",
            Set(_) | List(_) => "list",
            Keys(..) | Named(_) | Each(_) => "mapping",
            OrNull(_) => "mapping or null",
            Either(_, name) => name,
        }
    }

    fn check(&self, node: &Node, path: &str) -> Result<(), Misfit> {
        let misfit = |span: Span, what: String| {
            let path = if path.is_empty() { "(root)".to_owned() } else { path.to_owned() };
            Err(Misfit { span, path, what, key: None })
        };
        let not_allowed = |key: &Node| {
            let name = key.scalar().unwrap_or_default();
            let found = misfit(key.span, format!("Additional property {} is not allowed", shown(name)));
            found.map_err(|misfit| Misfit { key: Some(name.to_owned()), ..misfit })
        };
        if !self.fits_type(node) {
            return misfit(node.span, format!("must be a {}", self.name()));
        }
        match (self, &node.value) {
            (Duration, Value::String(text)) if duration(text).is_none() => {
                misfit(node.span, "Does not match format 'duration'".into())
            }
            (Order, Value::String(text)) if !matches!(text.as_str(), "start-first" | "stop-first") => {
                misfit(node.span, "must be one of the following: \"start-first\", \"stop-first\"".into())
            }
            (OrNull(rule), value) if *value != Value::Null => rule.check(node, path),
            (Either(rules, _), _) => {
                let rule = rules.iter().find(|rule| rule.fits_type(node));
                rule.map_or(Ok(()), |rule| rule.check(node, path))
            }
            (List(rule) | Set(rule), Value::Seq(items)) => {
                for (index, item) in items.iter().enumerate() {
                    rule.check(item, &join(path, &index.to_string()))?;
                    if matches!(self, Set(_))
                        && let Some(first) = items[..index].iter().position(|other| other == item)
                    {
                        return misfit(item.span, format!("array items[{first},{index}] must be unique"));
                    }
                }
                Ok(())
            }
            (Named(rule) | Each(rule), Value::Map(entries)) => {
                let word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
                for (key, value) in entries {
                    let name = key.scalar().unwrap_or_default();
                    if name.is_empty() || matches!(self, Named(_)) && !name.bytes().all(word) {
                        return not_allowed(key);
                    }
                    rule.check(value, &join(path, name))?;
                }
                Ok(())
            }
            (Keys(known, extra), Value::Map(entries)) => {
                for (key, value) in entries {
                    let name = key.scalar().unwrap_or_default();
                    match known.iter().find(|(known, _)| *known == name) {
                        Some((_, rule)) => rule.check(value, &join(path, name))?,
                        None if *extra == Extra::Yes || *extra == Extra::X && name.starts_with("x-") => {}
                        None => return not_allowed(key),
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// As Go writes spans of time: `1m30s`, `1.5h`, `0`.
pub fn duration(text: &str) -> Option<std::time::Duration> {
    const UNITS: [(&str, f64); 8] =
        [("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("μs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3600e9)];
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return Some(std::time::Duration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    let mut nanos = 0f64;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let (unit, factor) = UNITS.into_iter().find(|(unit, _)| rest.starts_with(unit))?;
        rest = &rest[unit.len()..];
        nanos += number * factor;
    }
    // Go counts nanoseconds in 64 bits.
    if nanos >= 9.2e18 {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked just above")]
    Some(std::time::Duration::from_nanos(nanos as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml;

    fn misfit(text: &str) -> String {
        let node = yaml::parse("compose.yml", text).unwrap();
        let misfit = check(&node).unwrap_err();
        format!("{} {} {}", misfit.span, misfit.path, misfit.what)
    }

    #[test]
    fn it_says_what_dockers_reader_says() {
        for (text, expected) in [
            (
                "services: {app: {healthcheck: {start_period: \"${X:-5m}\"}}}",
                "1:46 services.app.healthcheck.start_period Does not match format 'duration'",
            ),
            ("services: {app: {imgae: x}}", "1:18 services.app Additional property imgae is not allowed"),
            ("services: {app: {image: 5}}", "1:25 services.app.image must be a string"),
            ("services: {app: {ports: 80}}", "1:25 services.app.ports must be a list"),
            ("services: {app: {deploy: {replicas: two}}}", "1:37 services.app.deploy.replicas must be a integer"),
            (
                "services: {app: {environment: {A: true}}}",
                "1:35 services.app.environment.A must be a string, number or null",
            ),
            ("services: {app: {command: {}}}", "1:27 services.app.command must be a string or list"),
            ("services: {app: {dns: [a, a]}}", "1:27 services.app.dns array items[0,1] must be unique"),
            ("services: {\"a b\": {image: x}}", "1:12 services Additional property a b is not allowed"),
            ("services: []", "1:11 services must be a mapping"),
            ("version: 3", "1:10 version must be a string"),
            ("nmae: x", "1:1 (root) Additional property nmae is not allowed"),
            ("[]", "1:1 (root) must be a mapping"),
            (
                "services: {app: {deploy: {update_config: {order: first}}}}",
                "1:50 services.app.deploy.update_config.order must be one of the following: \"start-first\", \"stop-first\"",
            ),
        ] {
            assert_eq!(misfit(text), expected);
        }
    }

    #[test]
    fn what_is_right_passes() {
        let text = "
version: '3.8'
x-common: {a: 1}
services:
  app:
    image: nginx
    ports: ['80:80', 81, {target: 80, published: 8080, mode: host}]
    networks: [proxy, internal]
    environment: [A=1, B]
    volumes: ['data:/data', {type: tmpfs, target: /run}]
    configs: [one, {source: two, target: /two, mode: 0444}]
    healthcheck: {test: [CMD, curl], interval: 30s, timeout: 1m30s, retries: 3, start_period: 1.5h}
    deploy: {replicas: 0, restart_policy: {condition: on-failure, delay: '0'}, labels: [a=b]}
    ulimits: {nofile: {soft: 1, hard: 2}}
networks: {proxy: {external: true}, internal: }
volumes: {data: }
secrets: {s: {external: true, name: x}}
configs: {one: {file: a}, two: {file: b, template_driver: golang}}
";
        assert_eq!(check(&yaml::parse("c", text).unwrap()), Ok(()));
    }

    #[test]
    fn a_key_newer_than_the_version_is_found() {
        let node = yaml::parse("c", "services: {app: {deploy: {resources: {limits: {pids: 9}}}}}").unwrap();
        let (version, by) = needs(&node);
        assert_eq!(version, 9);
        let by = by.unwrap();
        assert_eq!((by.path.as_str(), by.span.column), ("services.app.deploy.resources.limits", 48));
    }

    #[test]
    fn spans_of_time_are_gos() {
        use std::time::Duration;
        assert_eq!(duration("1m30s"), Some(Duration::from_secs(90)));
        assert_eq!(duration("1.5h"), Some(Duration::from_secs(5400)));
        assert_eq!(duration("0"), Some(Duration::ZERO));
        for bad in ["", "+", "5", "5 s", "s", "1d", "${X}", ".s", "1e400h", "99999999999h"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }
}

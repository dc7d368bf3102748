//! Labels that Traefik reads. It serves every app of the machine from one table, so an app may add to it what is its own and
//! nothing else: routers, services and middlewares under its own name, for its own host, leading to itself.

use super::labels::of_services;
use super::{Asked, Hit, OfApp, Rule, shown};
use crate::yaml::Node;

pub(super) const RULES: &[OfApp] = &[
    Rule {
        id: "traefik-name",
        reason: "routers, services and middlewares of that name are another app's",
        cure: "begin the name with `${STACK_NAME}`, in a label in list style",
        look: names,
    },
    Rule {
        id: "traefik-host",
        reason: "it would be given requests for others",
        cure: "have every alternative of the rule ask for `Host(`${DOMAIN}`)`, a name below it, or one that cc-ci is told of in `hosts`",
        look: hosts,
    },
    Rule {
        id: "traefik-reference",
        reason: "what is not the app's own, the proxy's API among it, is not served by it",
        cure: "name what begins with `${STACK_NAME}`",
        look: references,
    },
    Rule {
        id: "traefik-reach",
        reason: "the proxy would ask, read or run for it what it cannot itself",
        cure: "lead to the app's own domain or to one of its own services, `${STACK_NAME}_app`",
        look: reaches,
    },
    Rule { id: "traefik-option", reason: "it changes the proxy for everybody", cure: "remove it", look: options },
];

/// A label of Traefik's, taken apart. All but the name and the value are in lower case, since Traefik does not care.
struct Label<'a> {
    key: &'a Node,
    value: &'a Node,
    sort: Sort<'a>,
}

enum Sort<'a> {
    /// `traefik.http.routers.<name>.<option>`.
    Named { kind: &'static str, name: &'a str, option: String },
    /// Anything else that begins with `traefik`.
    Other(String),
}

impl Label<'_> {
    fn text(&self) -> &str {
        self.value.scalar().unwrap_or_default()
    }

    fn key(&self) -> &str {
        self.key.scalar().unwrap_or_default()
    }

    fn hit(&self, asked: &Asked<'_>, what: &str) -> Hit {
        asked.hit(self.key.span, what, format!("sets `{}={}`", shown(self.key()), shown(self.text())))
    }
}

fn labels<'a>(asked: &Asked<'a>) -> Vec<Label<'a>> {
    let is_traefiks =
        |(key, _): &&(Node, Node)| key.scalar().unwrap_or_default().to_ascii_lowercase().starts_with("traefik");
    let label = |(key, value): &'a (Node, Node)| Label { key, value, sort: sort(key.scalar().unwrap_or_default()) };
    of_services(asked).filter(is_traefiks).map(label).collect()
}

fn sort(key: &str) -> Sort<'_> {
    const KINDS: &[&str] = &["routers", "services", "middlewares"];
    let lower = key.to_ascii_lowercase();
    let named = lower.strip_prefix("traefik.http.").or(lower.strip_prefix("traefik.tcp.")).and_then(|rest| {
        let (kind, _) = rest.split_once('.')?;
        let kind = *KINDS.iter().find(|known| **known == kind)?;
        let (name, option) = key[key.len() - rest.len() + kind.len() + 1..].split_once('.')?;
        Some(Sort::Named { kind, name, option: option.to_ascii_lowercase() })
    });
    named.unwrap_or(Sort::Other(lower))
}

/// Whether a router, service or middleware is the app's: `<stack>`, `<stack>-admin`, `<stack>_api`.
fn is_own(asked: &Asked<'_>, name: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let rest = name.strip_prefix(asked.stack);
    rest.is_some_and(|rest| (rest.is_empty() || rest.starts_with(['-', '_'])) && rest.bytes().all(word))
}

fn names(asked: &Asked<'_>) -> Vec<Hit> {
    let mut found = Vec::new();
    for label in labels(asked) {
        if let Sort::Named { name, .. } = label.sort
            && !is_own(asked, name)
        {
            found.push(label.hit(asked, name));
        }
    }
    found
}

fn hosts(asked: &Asked<'_>) -> Vec<Hit> {
    let mut found = Vec::new();
    for label in labels(asked) {
        if let Sort::Named { kind: "routers", option, .. } = &label.sort
            && option == "rule"
            && !expression::is_bound(label.text(), &|host| is_own_host(asked, host))
        {
            found.push(label.hit(asked, label.text()));
        }
    }
    found
}

/// The app's name, one below it, or one beside it that begins with it, as second names do: `pad-3fa2c1-sandbox.ci.test`.
fn is_own_host(asked: &Asked<'_>, host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    if let Some(below) = host.strip_suffix(asked.domain) {
        return below.is_empty() || below.ends_with('.') && below.len() > 1;
    }
    let beside = asked
        .domain
        .split_once('.')
        .and_then(|(app, above)| host.strip_prefix(app)?.strip_prefix('-')?.strip_suffix(above)?.strip_suffix('.'));
    beside.is_some_and(|word| !word.is_empty() && !word.contains('.'))
}

/// What a label names that must be the app's own.
fn references(asked: &Asked<'_>) -> Vec<Hit> {
    let mut found = Vec::new();
    for label in labels(asked) {
        let Sort::Named { kind, option, .. } = &label.sort else { continue };
        let refers = match *kind {
            "routers" => matches!(option.as_str(), "service" | "middlewares" | "tls.options"),
            "services" => !option.starts_with("loadbalancer.") || option.ends_with(".serverstransport"),
            _ => option.starts_with("chain.") || option == "errors.service",
        };
        let own = |name: &str| {
            let name = name.trim();
            is_own(asked, name.strip_suffix("@swarm").or(name.strip_suffix("@docker")).unwrap_or(name))
        };
        if refers && let Some(other) = label.text().split(',').find(|name| !own(name)) {
            found.push(label.hit(asked, other.trim()));
        }
    }
    found
}

fn reaches(asked: &Asked<'_>) -> Vec<Hit> {
    let mut found = Vec::new();
    for label in labels(asked) {
        let Sort::Named { kind, option, .. } = &label.sort else { continue };
        let text = label.text();
        let well = match (*kind, option.as_str()) {
            ("services", "loadbalancer.server.url" | "loadbalancer.servers.url")
            | ("middlewares", "forwardauth.address") => leads_home(asked, text),
            // One that is no path replaces the whole address.
            ("services", "loadbalancer.healthcheck.path") => text.starts_with('/') && !text.starts_with("//"),
            ("services", option) => !option.starts_with("loadbalancer.server") || !option.contains("url"),
            ("middlewares", option) => {
                let files = option.ends_with(".usersfile") || option.starts_with("forwardauth.tls");
                !files && !option.starts_with("plugin") && !option.contains(".redis")
            }
            _ => true,
        };
        if !well {
            found.push(label.hit(asked, text));
        }
    }
    found
}

/// An address at the app's own domain or one of its own services.
fn leads_home(asked: &Asked<'_>, address: &str) -> bool {
    let Some((_, rest)) = address.split_once("://") else { return false };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let odd = |c: char| !c.is_ascii_alphanumeric() && !matches!(c, '.' | '-' | '_' | ':');
    let host = host.split_once(':').map_or(host, |(host, _)| host);
    !rest.starts_with('\\')
        && !rest.split('/').next().unwrap_or_default().contains(odd)
        && (is_own_host(asked, host) || asked.is_own_name(host))
}

fn options(asked: &Asked<'_>) -> Vec<Hit> {
    let mut found = Vec::new();
    for label in labels(asked) {
        let well = match &label.sort {
            Sort::Named { kind: "routers", option, .. } => match option.as_str() {
                // Certificates are the appliance's; asking for more would be told to the world, and counted.
                "tls.certresolver" => label.text().is_empty(),
                _ => true,
            },
            Sort::Named { .. } => true,
            Sort::Other(key) => match key.as_str() {
                "traefik.enable" | "traefik.docker.lbswarm" | "traefik.swarm.lbswarm" => true,
                "traefik.docker.network" | "traefik.swarm.network" => {
                    label.text() == asked.bounds.network || asked.is_own_name(label.text())
                }
                _ => false,
            },
        };
        if !well {
            found.push(label.hit(asked, label.key()));
        }
    }
    found
}

/// Traefik's rules: `Host(`a`) && (PathPrefix(`/x`) || !Method(`GET`))`.
mod expression {
    /// Whether nothing matches without asking for a host of ours. What cannot be read for certain is not.
    pub(super) fn is_bound(text: &str, own: &dyn Fn(&str) -> bool) -> bool {
        let Some(tokens) = tokens(text) else { return false };
        let mut rest = tokens.as_slice();
        either(&mut rest, own, 0) == Some(true) && rest.is_empty()
    }

    #[derive(Debug, PartialEq)]
    enum Token<'a> {
        Name(&'a str),
        Text(&'a str),
        Sign(&'static str),
    }

    fn tokens(text: &str) -> Option<Vec<Token<'_>>> {
        let mut found = Vec::new();
        let mut rest = text.trim_start();
        while let Some(first) = rest.chars().next() {
            let (token, length) =
                if let Some(sign) = ["&&", "||", "!", "(", ")", ","].iter().find(|sign| rest.starts_with(**sign)) {
                    (Token::Sign(sign), sign.len())
                } else if matches!(first, '`' | '"') {
                    let end = rest[1..].find(first)?;
                    let inner = &rest[1..=end];
                    // An escape would mean something else to Go.
                    (Token::Text(inner).into_plain(first == '`')?, end + 2)
                } else {
                    let length = rest.bytes().take_while(u8::is_ascii_alphanumeric).count();
                    if length == 0 {
                        return None;
                    }
                    (Token::Name(&rest[..length]), length)
                };
            found.push(token);
            rest = rest[length..].trim_start();
        }
        Some(found)
    }

    impl Token<'_> {
        fn into_plain(self, raw: bool) -> Option<Self> {
            match self {
                Token::Text(text) if !raw && text.contains('\\') => None,
                other => Some(other),
            }
        }
    }

    fn sign(rest: &mut &[Token<'_>], wanted: &str) -> bool {
        match rest.split_first() {
            Some((Token::Sign(sign), after)) if *sign == wanted => {
                *rest = after;
                true
            }
            _ => false,
        }
    }

    /// Bound when every alternative is.
    fn either(rest: &mut &[Token<'_>], own: &dyn Fn(&str) -> bool, depth: usize) -> Option<bool> {
        let mut bound = both(rest, own, depth)?;
        while sign(rest, "||") {
            bound &= both(rest, own, depth)?;
        }
        Some(bound)
    }

    /// Bound when one of the conditions is.
    fn both(rest: &mut &[Token<'_>], own: &dyn Fn(&str) -> bool, depth: usize) -> Option<bool> {
        let mut bound = one(rest, own, depth)?;
        while sign(rest, "&&") {
            bound |= one(rest, own, depth)?;
        }
        Some(bound)
    }

    fn one(rest: &mut &[Token<'_>], own: &dyn Fn(&str) -> bool, depth: usize) -> Option<bool> {
        if depth > 32 {
            return None;
        }
        if sign(rest, "!") {
            return one(rest, own, depth + 1).map(|_| false);
        }
        if sign(rest, "(") {
            let bound = either(rest, own, depth + 1)?;
            return sign(rest, ")").then_some(bound);
        }
        let (Token::Name(name), after) = rest.split_first()? else { return None };
        *rest = after;
        let mut arguments = Vec::new();
        if !sign(rest, "(") {
            return None;
        }
        while !sign(rest, ")") {
            let (Token::Text(text), after) = rest.split_first()? else { return None };
            arguments.push(*text);
            *rest = after;
            if !sign(rest, ",") && !matches!(rest.first(), Some(Token::Sign(")"))) {
                return None;
            }
        }
        let host = matches!(name.to_ascii_lowercase().as_str(), "host" | "hostsni" | "hostheader");
        Some(host && !arguments.is_empty() && arguments.into_iter().all(own))
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_rule_is_bound_when_nothing_matches_without_our_host() {
            let bound = |rule: &str| is_bound(rule, &|host| host == "own");
            for rule in [
                "Host(`own`)",
                "Host(`own`, `own`)",
                "host(\"own\") && PathPrefix(`/x`)",
                "PathPrefix(`/x`) && (Host(`own`) || Host(`own`) && Method(`GET`))",
                "(Host(`own`))&&!Path(`/`)",
                "HostSNI(`own`)",
            ] {
                assert!(bound(rule), "{rule}");
            }
            for rule in [
                "",
                "Host(`other`)",
                "Host(`own`, `other`)",
                "Host(`own`) || Host(`other`)",
                "Host(`own`) || PathPrefix(`/`)",
                "!Host(`own`)",
                "PathPrefix(`/`)",
                "HostRegexp(`own`)",
                "Host()",
                "Host(`own`) /* || */",
                "Host(\"\\x6fwn\")",
                "Host(`own`) || ",
                "Host(`own`))",
                "Host(`own`",
                "Host(own)",
                "HostSNI(`*`)",
            ] {
                assert!(!bound(rule), "{rule}");
            }
            assert!(!bound(&format!("{}Host(`own`){}", "(".repeat(100), ")".repeat(100))));
        }
    }
}

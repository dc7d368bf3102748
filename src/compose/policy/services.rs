//! What services ask for.

use super::{Asked, Hit, OfApp, Rule, shown};
use crate::compose::{Service, schema};
use crate::yaml::{Node, Value, whole_number};

pub(super) const RULES: &[OfApp] = &[
    Rule {
        id: "bind-mount",
        reason: "the host's files, Docker's socket among them, are not the app's",
        cure: "use a named volume, or a config for a file of the recipe",
        look: bind_mounts,
    },
    Rule {
        id: "mount-type",
        reason: "only volumes and tmpfs stay inside of the app",
        cure: "use a named volume",
        look: mount_types,
    },
    Rule {
        id: "privileged",
        reason: "a privileged container is the host",
        cure: "remove it",
        look: |asked| set(asked, &["privileged"], "wants to be privileged"),
    },
    Rule {
        id: "capabilities",
        reason: "with more capabilities a container gets out of itself",
        cure: "remove `cap_add`",
        look: |asked| set(asked, &["cap_add"], "wants the capability"),
    },
    Rule {
        id: "security-opt",
        reason: "it loosens what holds a container",
        cure: "remove it; only `no-new-privileges` is harmless",
        look: security_opts,
    },
    Rule { id: "devices", reason: "devices are the host's", cure: "remove it", look: devices },
    Rule {
        id: "host-namespace",
        reason: "the namespaces of the host, or of another container, show what is in them",
        cure: "remove it; a container has namespaces of its own",
        look: namespaces,
    },
    Rule {
        id: "published-port",
        reason: "the ports of the host are shared by all that runs on it",
        cure: "leave HTTP to Traefik",
        look: ports,
    },
    Rule {
        id: "sysctls",
        reason: "they change how a kernel works that others use too",
        cure: "remove them",
        look: sysctls,
    },
    Rule {
        id: "ulimits",
        reason: "this limit reaches beyond the container",
        cure: "remove it; `nofile`, `nproc`, `memlock` and `stack` are fine",
        look: ulimits,
    },
    Rule {
        id: "cgroup-parent",
        reason: "it takes the app out of the limits that hold it",
        cure: "remove it",
        look: |asked| set(asked, &["cgroup_parent"], "wants the control group"),
    },
    Rule {
        id: "credential-spec",
        reason: "it reads credentials of the host",
        cure: "remove it",
        look: |asked| set(asked, &["credential_spec"], "wants the credentials of the host"),
    },
    Rule {
        id: "oom-score",
        reason: "when memory ends, something else would die for it",
        cure: "remove it",
        look: oom_score,
    },
    Rule {
        id: "host-gateway",
        reason: "it leads to what listens on the host itself",
        cure: "remove it",
        look: host_gateway,
    },
    Rule {
        id: "logging",
        reason: "its log is read here, bounded and masked, and goes nowhere else",
        cure: "remove it, or use `json-file` with `max-size` and `max-file`",
        look: logging,
    },
    Rule {
        id: "replicas",
        reason: "the machine is shared",
        cure: "ask for fewer; one is enough for a test",
        look: replicas,
    },
    Rule {
        id: "placement",
        reason: "which machine an app runs on is decided here",
        cure: "remove it; `node.role == manager` is fine",
        look: placement,
    },
    Rule {
        id: "stop-grace",
        reason: "a teardown cannot wait that long",
        cure: "ask for ten minutes at most",
        look: stop_grace,
    },
    Rule {
        id: "image-name",
        reason: "whatever image is on this machine could be somebody else's",
        cure: "name an image of a registry, `name:tag`",
        look: image_names,
    },
    Rule {
        id: "image-registry",
        reason: "images come from registries that this appliance allows",
        cure: "take the image from one of those",
        look: image_registries,
    },
];

/// Longer than any teardown waits.
const LONGEST_GRACE_S: u64 = 600;

/// Whether something is asked for: what is empty or false asks for nothing.
fn asks(node: &Node) -> bool {
    match &node.value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Seq(items) => !items.is_empty(),
        Value::Map(entries) => !entries.is_empty(),
        _ => true,
    }
}

/// Every service's value at a path, if it asks for something.
fn at<'a>(asked: &Asked<'a>, path: &'a [&str]) -> impl Iterator<Item = (Service<'a>, &'a Node)> {
    let services = asked.compose.services().into_iter();
    services.filter_map(|service| Some((service, service.node.at(path)?))).filter(|(_, node)| asks(node))
}

/// The rule for a key that must not be there: each item of a list is a hit of its own.
fn set(asked: &Asked<'_>, path: &[&str], wants: &str) -> Vec<Hit> {
    let hit = |service: Service<'_>, node: &Node| {
        let what = node.scalar().filter(|_| node.as_bool().is_none()).unwrap_or_default();
        asked.hit(node.span, what, format!("`{}` {wants} {}", service.name, shown(what)).trim_end())
    };
    let each = |(service, node): (Service<'_>, &Node)| match node.as_seq() {
        Some(items) => items.iter().map(|item| hit(service, item)).collect(),
        None => vec![hit(service, node)],
    };
    at(asked, path).flat_map(each).collect()
}

fn bind_mounts(asked: &Asked<'_>) -> Vec<Hit> {
    let mut found = Vec::new();
    for service in asked.compose.services() {
        for mount in service.mounts() {
            let source = mount.source.unwrap_or_default();
            // What Docker's reader takes for a path, whatever the type says.
            let is_path = source.starts_with(['/', '.', '~']) || source.contains(['\\', '/', '{']);
            if mount.kind == "bind" || mount.kind == "volume" && is_path {
                found.push(asked.hit(mount.span, source, format!("asks for {}", shown(source))));
            }
        }
    }
    found
}

fn mount_types(asked: &Asked<'_>) -> Vec<Hit> {
    let mut found = Vec::new();
    for service in asked.compose.services() {
        let other = |kind: &str| !matches!(kind, "bind" | "volume" | "tmpfs");
        for mount in service.mounts().into_iter().filter(|mount| other(mount.kind)) {
            let asks = format!("`{}` mounts something of the type {}", service.name, shown(mount.kind));
            found.push(asked.hit(mount.span, mount.kind, asks));
        }
    }
    found
}

fn security_opts(asked: &Asked<'_>) -> Vec<Hit> {
    let mut found = set(asked, &["security_opt"], "sets the security option");
    found.retain(|hit| {
        !matches!(hit.what.as_str(), "no-new-privileges" | "no-new-privileges:true" | "no-new-privileges=true")
    });
    found
}

fn devices(asked: &Asked<'_>) -> Vec<Hit> {
    let mut found = set(asked, &["devices"], "wants the device");
    let reserved = &["deploy", "resources", "reservations", "generic_resources"];
    for (service, node) in at(asked, reserved) {
        found.push(asked.hit(node.span, "generic_resources", format!("`{}` reserves devices", service.name)));
    }
    found
}

fn namespaces(asked: &Asked<'_>) -> Vec<Hit> {
    /// Each key, and what of it stays inside.
    const KEYS: &[(&str, &[&str])] = &[
        ("pid", &[]),
        ("ipc", &["private", "none"]),
        ("network_mode", &["none", "default"]),
        ("userns_mode", &[]),
        ("cgroupns_mode", &["private"]),
        ("isolation", &["default"]),
    ];
    let mut found = Vec::new();
    for (key, harmless) in KEYS {
        for service in asked.compose.services() {
            let Some(node) = service.node.get(key).filter(|node| asks(node)) else { continue };
            let said = node.scalar().unwrap_or_default();
            if !harmless.contains(&said) {
                let asks = format!("`{}` sets `{key}: {}`", service.name, shown(said));
                found.push(asked.hit(node.span, &format!("{key}: {said}"), asks));
            }
        }
    }
    found
}

fn ports(asked: &Asked<'_>) -> Vec<Hit> {
    let mut found = Vec::new();
    for (service, node) in at(asked, &["ports"]) {
        for port in node.as_seq().unwrap_or_default() {
            let number = port.get("published").or(port.get("target")).unwrap_or(port);
            let what = number.scalar().unwrap_or_default();
            let asks = format!("`{}` publishes the port {}", service.name, shown(what));
            found.push(asked.hit(port.span, what, asks));
        }
    }
    found
}

fn sysctls(asked: &Asked<'_>) -> Vec<Hit> {
    let each = |(service, node): (Service<'_>, &Node)| {
        let entries = node.as_map().unwrap_or_default().iter();
        let hit = |(key, _): &(Node, Node)| {
            let name = key.scalar().unwrap_or_default();
            asked.hit(key.span, name, format!("`{}` sets the kernel's {}", service.name, shown(name)))
        };
        entries.map(hit).collect::<Vec<_>>()
    };
    at(asked, &["sysctls"]).flat_map(each).collect()
}

fn ulimits(asked: &Asked<'_>) -> Vec<Hit> {
    const HARMLESS: &[&str] = &["nofile", "nproc", "memlock", "stack", "as", "data", "fsize", "rss", "cpu"];
    let mut found = Vec::new();
    for (service, node) in at(asked, &["ulimits"]) {
        for (key, value) in node.as_map().unwrap_or_default() {
            let name = key.scalar().unwrap_or_default();
            // No core files: that is what cc-ci wants too.
            let none = name == "core" && value.scalar() == Some("0");
            if !none && !HARMLESS.contains(&name.to_ascii_lowercase().as_str()) {
                found.push(asked.hit(key.span, name, format!("`{}` sets the limit `{}`", service.name, shown(name))));
            }
        }
    }
    found
}

fn oom_score(asked: &Asked<'_>) -> Vec<Hit> {
    let found = at(asked, &["oom_score_adj"]).filter(|(_, node)| whole_number(node).is_none_or(|score| score < 0));
    found.map(|(service, node)| asked.hit(node.span, "", format!("`{}` wants to be spared", service.name))).collect()
}

fn host_gateway(asked: &Asked<'_>) -> Vec<Hit> {
    let mut found = Vec::new();
    for (service, node) in at(asked, &["extra_hosts"]) {
        for line in node.as_seq().unwrap_or_default() {
            let text = line.scalar().unwrap_or_default();
            if text.to_ascii_lowercase().contains("host-gateway") {
                let asks = format!("`{}` gives the host itself a name, {}", service.name, shown(text));
                found.push(asked.hit(line.span, text, asks));
            }
        }
    }
    found
}

fn logging(asked: &Asked<'_>) -> Vec<Hit> {
    const DRIVERS: &[&str] = &["json-file", "local", "none"];
    const OPTIONS: &[&str] = &[
        "max-size",
        "max-file",
        "compress",
        "labels",
        "labels-regex",
        "env",
        "env-regex",
        "tag",
        "mode",
        "max-buffer-size",
    ];
    let mut found = Vec::new();
    for (service, node) in at(asked, &["logging"]) {
        if let Some(driver) = node.get("driver").filter(|driver| asks(driver)) {
            let said = driver.scalar().unwrap_or_default();
            if !DRIVERS.contains(&said) {
                let asks = format!("`{}` sends its log to {}", service.name, shown(said));
                found.push(asked.hit(driver.span, said, asks));
                continue;
            }
        }
        for (key, _) in node.get("options").and_then(Node::as_map).unwrap_or_default() {
            let name = key.scalar().unwrap_or_default();
            if !OPTIONS.contains(&name) {
                let asks = format!("`{}` sets `{}` for its log", service.name, shown(name));
                found.push(asked.hit(key.span, name, asks));
            }
        }
    }
    found
}

fn replicas(asked: &Asked<'_>) -> Vec<Hit> {
    let most = i128::from(asked.bounds.replicas);
    let mut found = Vec::new();
    for (service, node) in at(asked, &["deploy", "replicas"]) {
        if whole_number(node).is_none_or(|count| count > most) {
            let said = node.scalar().unwrap_or_default();
            let asks = format!("`{}` asks for {} replicas, more than {most}", service.name, shown(said));
            found.push(asked.hit(node.span, said, asks));
        }
    }
    found
}

fn placement(asked: &Asked<'_>) -> Vec<Hit> {
    const HARMLESS: &[&str] = &["node.role==manager", "node.platform.os==linux"];
    let mut found = set(asked, &["deploy", "placement", "constraints"], "wants the node with");
    found.retain(|hit| !HARMLESS.contains(&hit.what.replace([' ', '\t'], "").as_str()));
    found
}

fn stop_grace(asked: &Asked<'_>) -> Vec<Hit> {
    let too_long = |node: &Node| {
        let grace = node.as_str().and_then(schema::duration);
        grace.is_none_or(|grace| grace.as_secs() > LONGEST_GRACE_S)
    };
    let found = at(asked, &["stop_grace_period"]).filter(|(_, node)| too_long(node));
    found
        .map(|(service, node)| {
            let said = node.scalar().unwrap_or_default();
            asked.hit(node.span, said, format!("`{}` may take {} to end", service.name, shown(said)))
        })
        .collect()
}

/// The registry of an image, as Docker reads the name; nothing for what is no name of a registry's image.
fn registry(image: &str) -> Option<&str> {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./:@".contains(&byte);
    let is_id = image.starts_with("sha256:") || image.len() == 64 && image.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_id || image.starts_with(['/', '.', ':', '@', '-']) || !image.bytes().all(word) {
        return None;
    }
    match image.split_once('/') {
        Some((host, _))
            if host.contains(['.', ':'])
                || host == "localhost"
                || host.bytes().any(|byte| byte.is_ascii_uppercase()) =>
        {
            Some(if host == "index.docker.io" { "docker.io" } else { host })
        }
        _ => Some("docker.io"),
    }
}

fn images<'a>(asked: &Asked<'a>) -> impl Iterator<Item = (&'a str, &'a Node, &'a str)> {
    at(asked, &["image"]).filter_map(|(service, node)| Some((service.name, node, node.as_str()?)))
}

fn image_names(asked: &Asked<'_>) -> Vec<Hit> {
    let found = images(asked).filter(|(_, _, image)| registry(image).is_none());
    found
        .map(|(service, node, image)| {
            asked.hit(node.span, image, format!("`{service}` runs the image {}", shown(image)))
        })
        .collect()
}

fn image_registries(asked: &Asked<'_>) -> Vec<Hit> {
    let allowed = &asked.bounds.registries;
    let refused = |host: &str| {
        // A registry on this machine or in its network holds what was never meant for strangers.
        if allowed.is_empty() { is_private(host) } else { !allowed.iter().any(|name| name == host) }
    };
    let found = images(asked).filter(|(_, _, image)| registry(image).is_some_and(refused));
    found
        .map(|(service, node, image)| {
            let host = registry(image).unwrap_or_default();
            asked.hit(node.span, host, format!("`{service}` takes its image from {}", shown(host)))
        })
        .collect()
}

/// An address or a name that only has a meaning in the network of this machine.
fn is_private(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let numeric = name.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    numeric
        || !name.contains('.')
        || [".local", ".internal", ".localhost", ".lan", ".home.arpa"].iter().any(|end| name.ends_with(end))
}

//! Networks, volumes, configs and secrets: those of the stack, made as stacks make them, and nobody else's.

use super::{Asked, Hit, OfApp, Rule, shown};
use crate::compose::{Kind, Object};
use crate::yaml::{Node, Value};

pub(super) const RULES: &[OfApp] = &[
    Rule {
        id: "external-network",
        reason: "other apps and the host live on networks that are not the stack's own",
        cure: "use the network of the proxy, or one of the stack's own",
        look: external_networks,
    },
    Rule {
        id: "network-driver",
        reason: "what is not an overlay network of Swarm's own choosing reaches the networks of the host",
        cure: "leave driver, options and addresses to Swarm",
        look: network_drivers,
    },
    Rule {
        id: "network-address",
        reason: "on a network that is shared, addresses and names of others could be taken",
        cure: "leave addresses and names to Swarm",
        look: network_addresses,
    },
    Rule {
        id: "foreign-volume",
        reason: "a volume with another name is another app's",
        cure: "leave `name` out, or begin it with `${STACK_NAME}_`",
        look: |asked| foreign(asked, Kind::Volume),
    },
    Rule {
        id: "foreign-secret",
        reason: "a secret with another name is another app's",
        cure: "begin its name with `${STACK_NAME}_`",
        look: |asked| foreign(asked, Kind::Secret),
    },
    Rule {
        id: "foreign-config",
        reason: "a config with another name is another app's",
        cure: "begin its name with `${STACK_NAME}_`",
        look: |asked| foreign(asked, Kind::Config),
    },
    Rule {
        id: "foreign-network",
        reason: "a network with another name is another app's",
        cure: "leave `name` out, or begin it with `${STACK_NAME}_`",
        look: |asked| foreign(asked, Kind::Network),
    },
    Rule {
        id: "volume-driver",
        reason: "a driver with options mounts whatever it is told, directories of the host too",
        cure: "leave driver and options out; for memory, `type: tmpfs` with `device: tmpfs` is fine",
        look: volume_drivers,
    },
    Rule {
        id: "object-driver",
        reason: "a driver is a program of the host",
        cure: "remove it; `template_driver: golang` is fine",
        look: object_drivers,
    },
];

fn external_networks(asked: &Asked<'_>) -> Vec<Hit> {
    let mut found = Vec::new();
    for network in asked.compose.networks().into_iter().filter(Object::is_external) {
        let name = network.full_name(asked.stack);
        if name != asked.bounds.network && !asked.is_own_name(&name) {
            let span = name_span(&network);
            found.push(asked.hit(span, &name, format!("asks for the network `{}`", shown(&name))));
        }
    }
    found
}

/// Where an object's name stands, else the object.
fn name_span(object: &Object<'_>) -> crate::yaml::Span {
    let name = object.node.get("name").or(object.node.at(&["external", "name"])).or(object.node.get("external"));
    name.map_or(object.span, |name| name.span)
}

fn network_drivers(asked: &Asked<'_>) -> Vec<Hit> {
    let mut found = Vec::new();
    for network in asked.compose.networks() {
        if let Some(driver) =
            network.node.get("driver").filter(|driver| !matches!(driver.as_str(), Some("" | "overlay")))
        {
            let said = driver.scalar().unwrap_or_default();
            let asks = format!("wants the network `{}` made by {}", network.key, shown(said));
            found.push(asked.hit(driver.span, said, asks));
        }
        for (key, _) in network.node.get("driver_opts").and_then(Node::as_map).unwrap_or_default() {
            let option = key.scalar().unwrap_or_default();
            if option != "encrypted" {
                let asks = format!("sets `{}` for the network `{}`", shown(option), network.key);
                found.push(asked.hit(key.span, option, asks));
            }
        }
        if let Some(ipam) = network.node.get("ipam").filter(|ipam| ipam.as_map().is_some_and(|map| !map.is_empty())) {
            found.push(asked.hit(ipam.span, "ipam", format!("chooses the addresses of the network `{}`", network.key)));
        }
    }
    found
}

fn network_addresses(asked: &Asked<'_>) -> Vec<Hit> {
    let external: Vec<&str> =
        asked.compose.networks().into_iter().filter(Object::is_external).map(|network| network.key).collect();
    let mut found = Vec::new();
    for service in asked.compose.services() {
        for (network, used) in service.node.get("networks").and_then(Node::as_map).unwrap_or_default() {
            let network = network.scalar().unwrap_or_default();
            for (key, value) in used.as_map().unwrap_or_default() {
                let key_name = key.scalar().unwrap_or_default();
                let own_aliases = key_name == "aliases" && !external.contains(&network);
                let empty = matches!(&value.value, Value::Null)
                    || value.as_seq().is_some_and(<[Node]>::is_empty)
                    || value.as_map().is_some_and(<[(Node, Node)]>::is_empty);
                if own_aliases || empty {
                    continue;
                }
                for item in value.as_seq().unwrap_or(std::slice::from_ref(value)) {
                    let said = item.scalar().unwrap_or_default();
                    if key_name == "aliases" && asked.is_own_name(said) {
                        continue;
                    }
                    let asks = format!(
                        "`{}` sets `{}: {}` on the network `{}`",
                        service.name,
                        shown(key_name),
                        shown(said),
                        shown(network)
                    );
                    found.push(asked.hit(item.span, said, asks));
                }
            }
        }
    }
    found
}

/// Objects whose name is not the stack's: taken from outside, or made under a name of another's.
fn foreign(asked: &Asked<'_>, kind: Kind) -> Vec<Hit> {
    let mut found = Vec::new();
    for object in asked.compose.objects(kind) {
        // What networks there are outside is a question of its own.
        if kind == Kind::Network && object.is_external() {
            continue;
        }
        let name = object.full_name(asked.stack);
        if !asked.is_own_name(&name) {
            let asks = format!("asks for the {} `{}`", kind.word(), shown(&name));
            found.push(asked.hit(name_span(&object), &name, asks));
        }
    }
    found
}

fn volume_drivers(asked: &Asked<'_>) -> Vec<Hit> {
    let mut found = Vec::new();
    for volume in asked.compose.volumes() {
        if let Some(driver) = volume.node.get("driver").filter(|driver| !matches!(driver.as_str(), Some("" | "local")))
        {
            let said = driver.scalar().unwrap_or_default();
            let asks = format!("wants the volume `{}` made by {}", volume.key, shown(said));
            found.push(asked.hit(driver.span, said, asks));
        }
        let options = volume.node.get("driver_opts").and_then(Node::as_map).unwrap_or_default();
        let says = |name: &str, value: &str| {
            options.iter().any(|(key, said)| key.scalar() == Some(name) && said.scalar() == Some(value))
        };
        let memory = says("type", "tmpfs") && says("device", "tmpfs");
        if let Some((first, _)) = options.first().filter(|_| !memory) {
            let option = |(key, value): &(Node, Node)| {
                format!("{}: {}", shown(key.scalar().unwrap_or_default()), shown(value.scalar().unwrap_or_default()))
            };
            let all = options.iter().map(option).collect::<Vec<_>>().join(", ");
            found.push(asked.hit(first.span, &all, format!("sets `{all}` for the volume `{}`", volume.key)));
        }
    }
    found
}

fn object_drivers(asked: &Asked<'_>) -> Vec<Hit> {
    let mut found = Vec::new();
    for object in [asked.compose.secrets(), asked.compose.configs()].concat() {
        for key in ["driver", "driver_opts", "template_driver"] {
            let Some(node) = object.node.get(key) else { continue };
            let said = node.scalar().unwrap_or_default();
            let golang = key == "template_driver" && said == "golang";
            let empty = said.is_empty() && node.as_map().is_none_or(<[(Node, Node)]>::is_empty);
            if !golang && !empty {
                let asks = format!("sets `{key}: {}` for the {} `{}`", shown(said), object.kind.word(), object.key);
                found.push(asked.hit(node.span, said, asks));
            }
        }
    }
    found
}

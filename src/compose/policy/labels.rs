//! Labels that claim to be somebody else: whoever sweeps, backs up or counts by labels would believe them.

use super::{Asked, Hit, OfApp, Rule, shown};
use crate::compose::Kind;
use crate::yaml::Node;

pub(super) const RULES: &[OfApp] = &[
    Rule {
        id: "our-label",
        reason: "cc-ci knows by these what belongs to which run",
        cure: "remove it",
        look: |asked| claims(asked, |key, _| key.starts_with("cc-ci")),
    },
    Rule {
        id: "docker-label",
        reason: "Docker knows by these what belongs to which stack",
        cure: "remove it",
        look: |asked| claims(asked, |key, _| key.starts_with("com.docker.")),
    },
    Rule {
        id: "backupbot-claim",
        reason: "the service that carries it would be given everybody's backups",
        cure: "remove it; `backupbot.backup` asks for a backup",
        look: |asked| claims(asked, |key, _| key.starts_with("coop-cloud.backupbot")),
    },
    Rule {
        id: "foreign-label",
        reason: "it speaks for another app",
        cure: "begin it with `coop-cloud.${STACK_NAME}.`",
        look: |asked| claims(asked, is_foreign),
    },
];

fn is_foreign(key: &str, asked: &Asked<'_>) -> bool {
    let Some(rest) = key.strip_prefix("coop-cloud.") else { return false };
    // Keys are not filled in, so this one stays as it is and speaks for nobody.
    let literal = rest.starts_with("${stack_name}.");
    let own = rest.strip_prefix(asked.stack).is_some_and(|rest| rest.starts_with('.'));
    !own && !literal && !rest.starts_with("backupbot")
}

/// Labels, wherever they are, whose key in lower case claims something.
fn claims(asked: &Asked<'_>, claims: impl Fn(&str, &Asked<'_>) -> bool) -> Vec<Hit> {
    let kinds = [Kind::Volume, Kind::Network, Kind::Config, Kind::Secret];
    let objects =
        kinds.into_iter().flat_map(|kind| asked.compose.objects(kind)).map(|object| object.node.get("labels"));
    let objects = objects.flatten().filter_map(Node::as_map).flatten();
    let mut found = Vec::new();
    for (key, _) in of_services(asked).chain(objects) {
        let name = key.scalar().unwrap_or_default();
        if claims(&name.to_ascii_lowercase(), asked) {
            found.push(asked.hit(key.span, name, format!("sets the label `{}`", shown(name))));
        }
    }
    found
}

/// The labels of services and of their containers: Traefik looks at the one or the other, as it is set up.
pub(super) fn of_services<'a>(asked: &Asked<'a>) -> impl Iterator<Item = &'a (Node, Node)> {
    let services = asked.compose.services().into_iter();
    let places = services.flat_map(|service| [service.node.at(&["deploy", "labels"]), service.node.get("labels")]);
    places.flatten().filter_map(Node::as_map).flatten()
}

//! What is wrong with the services: their images, their health checks, how they are reached, and the label that tells versions
//! apart.

use super::{Findings, Severity, is_recipe_version, shown, whole};
use crate::compose::{Health, Service};
use crate::recipe::Said;

/// Tags that mean another image tomorrow.
const MOVING: &[&str] = &[
    "latest", "stable", "main", "master", "edge", "nightly", "testing", "dev", "develop", "unstable", "next", "rolling",
];
/// A first boot that takes longer than this is common.
const FIRST_BOOT_S: u64 = 60;

pub(super) fn look(said: &Said, found: &mut Findings) {
    version_label(said, found);
    variables_in_keys(said, found);
    for service in said.compose.services() {
        look_at(said, service, found);
    }
    routing(said, found);
}

fn version_label(said: &Said, found: &mut Findings) {
    let key = format!("coop-cloud.{}.version", said.stack);
    let services = said.compose.services();
    let Some((service, label)) = services.iter().find_map(|service| Some((service, service.label_node(&key)?))) else {
        let place = said.compose.service("app").map_or(whole("compose.yml"), |app| said.compose.place(app.span));
        let cure = "add `coop-cloud.${STACK_NAME}.version=1.0.0+<app version>` to the deploy labels of `app`";
        return found.add("version-label", Severity::Error, place, "no service carries the version label", cure);
    };
    let place = said.compose.place(label.span);
    if service.name != "app" {
        let message = format!("the version label is on `{}`; abra looks for it on `app`", service.name);
        found.warn("version-label", place.clone(), message, "move it to `app`");
    }
    let version = label.as_str().unwrap_or_default();
    if !is_recipe_version(version) {
        let message = format!("`{}` is not a recipe's version", shown(version));
        found.warn("version-label", place, message, "write it as `1.2.3+<app version>`");
    }
}

/// Docker's reader fills in values and never keys, so a label in mapping style keeps its `${STACK_NAME}` to the letter.
fn variables_in_keys(said: &Said, found: &mut Findings) {
    for service in said.compose.services() {
        for (key, _) in service.labels().iter().chain(service.environment()) {
            if let Some(text) = key.as_str().filter(|text| text.contains("${")) {
                let message = format!("the variable in `{}` stays as it is: keys are not filled in", shown(text));
                let cure = "write it in list style: `- \"key=value\"`";
                found.warn("variable-in-key", said.compose.place(key.span), message, cure);
            }
        }
    }
}

fn look_at(said: &Said, service: Service<'_>, found: &mut Findings) {
    let place = said.compose.place(service.span);
    let name = service.name;
    let runs = service.replicas() != Some(0) && service.restart_condition() != "none";
    match service.image().and_then(crate::yaml::Node::as_str).filter(|image| !image.is_empty()) {
        None => found.add("R011", Severity::Error, place.clone(), format!("`{name}` has no image"), "name one"),
        Some(image) => look_at_image(said, service, image, found),
    }
    match (service.health(), service.node.get("healthcheck")) {
        (Some(health), _) => slow_start(said, name, &health, found),
        (None, _) if !runs => {}
        (None, None) => found.warn(
            "R002",
            place,
            format!("`{name}` has no health check, so nobody knows when it is up"),
            "add `healthcheck:` with a test that asks the program itself",
        ),
        (None, Some(off)) => found.warn(
            "R002",
            said.compose.place(off.span),
            format!("the health check of `{name}` is turned off, so nobody knows when it is up"),
            "give it a test that asks the program itself",
        ),
    }
    for port in service.node.get("ports").and_then(crate::yaml::Node::as_seq).unwrap_or_default() {
        let message = format!("`{name}` publishes a port of the host; two apps of this recipe cannot live on one host");
        let cure = "leave HTTP to Traefik; keep it for what is not HTTP";
        found.warn("published-port", said.compose.place(port.span), message, cure);
    }
}

fn look_at_image(said: &Said, service: Service<'_>, image: &str, found: &mut Findings) {
    let Some(node) = service.image() else { return };
    let place = said.compose.place(node.span);
    let name = image.rsplit('/').next().unwrap_or(image);
    if name.contains('@') {
        return;
    }
    match name.split_once(':') {
        None => found.warn(
            "R003",
            place,
            format!("the image `{}` has no tag", shown(image)),
            "name the version: `image:1.2.3`",
        ),
        Some((_, tag)) if MOVING.contains(&tag) => {
            let message = format!("the tag of `{}` is another image tomorrow", shown(image));
            found.warn("R004", place, message, "name the version: `image:1.2.3`");
        }
        Some((_, tag)) if !tag.trim_start_matches('v').starts_with(|c: char| c.is_ascii_digit()) => {
            let message = format!("the tag of `{}` is no version", shown(image));
            found.add("R005", Severity::Note, place, message, "prefer a tag such as `1.2.3`");
        }
        Some(_) => {}
    }
}

fn slow_start(said: &Said, name: &str, health: &Health, found: &mut Findings) {
    let patience = health.start_period + health.interval * health.retries;
    if patience.as_secs() < FIRST_BOOT_S {
        let message = format!(
            "`{name}` is killed {} s after its start if it is not healthy by then, in the middle of a slow first boot too",
            patience.as_secs()
        );
        found.warn("slow-start", said.compose.place(health.span), message, "give it a `start_period: 1m` or more");
    }
}

fn routing(said: &Said, found: &mut Findings) {
    if !said.compose.services().iter().any(|service| service.label("traefik.enable") == Some("true")) {
        let place = said.compose.service("app").map_or(whole("compose.yml"), |app| said.compose.place(app.span));
        let cure = "add `traefik.enable=true` to the deploy labels of the service that answers the web";
        found.warn("R010", place, "no service is routed by Traefik", cure);
    }
}

//! What happens to a stack, as it happens. Docker tells everybody everything, the command lines of `exec` included; only
//! what concerns the stack and is needed passes.

use std::collections::HashMap;

use bollard::models::{EventMessage, EventMessageTypeEnum as Kind};
use bollard::query_parameters::EventsOptions;
use futures_util::stream::{Stream, StreamExt};

use super::client::{NAMESPACE, Swarm, SwarmFault};
use crate::clock::Time;
use crate::model::StackName;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackEvent {
    /// When Docker saw it.
    pub at: Time,
    pub what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    Container {
        id: String,
        /// The task it was made for, if it was, and its service.
        task: Option<String>,
        service: Option<String>,
        change: Change,
    },
    /// A service was made, changed or removed, or its update went on.
    Service,
    /// A network or a volume changed.
    Else,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Started,
    Healthy,
    Unhealthy,
    /// Somebody, mostly Swarm itself, sent it a signal.
    Killed,
    /// The kernel did, for want of memory.
    OutOfMemory,
    Died {
        exit: i64,
    },
    Gone,
    Other,
}

fn filters() -> HashMap<String, Vec<String>> {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<String>>();
    let events =
        words(&["create", "start", "health_status", "kill", "oom", "die", "destroy", "update", "remove", "disconnect"]);
    HashMap::from([
        ("type".to_owned(), words(&["container", "service", "network", "volume"])),
        ("event".to_owned(), events),
    ])
}

fn read(stack: &str, message: EventMessage) -> Option<StackEvent> {
    let at = Time(message.time_nano.map_or(message.time.unwrap_or(0) * 1000, |nanos| nanos / 1_000_000));
    let action = message.action.unwrap_or_default();
    let actor = message.actor.unwrap_or_default();
    let mut attributes = actor.attributes.unwrap_or_default();
    let named = |attributes: &HashMap<String, String>| {
        attributes
            .get("name")
            .and_then(|name| name.strip_prefix(stack))
            .is_some_and(|rest| rest.starts_with('_') || rest.is_empty())
    };
    let what = match message.typ? {
        Kind::CONTAINER if attributes.get(NAMESPACE).is_some_and(|namespace| namespace == stack) => {
            let change = match action.as_str() {
                "start" => Change::Started,
                // A signal that asks for a reload is no end: HUP, USR1, USR2.
                "kill" if matches!(attributes.get("signal").map(String::as_str), Some("1" | "10" | "12")) => {
                    Change::Other
                }
                "kill" => Change::Killed,
                "oom" => Change::OutOfMemory,
                "die" => {
                    Change::Died { exit: attributes.get("exitCode").and_then(|code| code.parse().ok()).unwrap_or(-1) }
                }
                "destroy" => Change::Gone,
                "health_status: healthy" => Change::Healthy,
                "health_status: unhealthy" => Change::Unhealthy,
                _ => Change::Other,
            };
            let task = attributes.remove("com.docker.swarm.task.id");
            let service = attributes.remove("com.docker.swarm.service.name");
            What::Container { id: actor.id.unwrap_or_default(), task, service, change }
        }
        Kind::SERVICE if named(&attributes) => What::Service,
        // Volumes are named by their id, and a network's end is told of when a container leaves it.
        Kind::NETWORK | Kind::VOLUME => What::Else,
        _ => return None,
    };
    Some(StackEvent { at, what })
}

impl Swarm {
    /// What happens to the stack, from `since` on (Docker remembers the last 256 events of all) and then as it happens.
    /// Networks and volumes are everybody's: their events say only that it is worth to look again.
    pub fn events(
        &self,
        stack: &StackName,
        since: Option<Time>,
    ) -> impl Stream<Item = Result<StackEvent, SwarmFault>> + Send + use<> {
        let options = EventsOptions {
            since: since.map(|time| format!("{}.{:03}000000", time.0 / 1000, time.0 % 1000)),
            until: None,
            filters: Some(filters()),
        };
        let stack = stack.to_string();
        self.docker.events(Some(options)).filter_map(move |message| {
            let event = match message {
                Ok(message) => read(&stack, message).map(Ok),
                Err(error) => Some(Err(SwarmFault::new("tell what happens", error))),
            };
            std::future::ready(event)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard::models::EventActor;

    fn message(typ: Kind, action: &str, attributes: &[(&str, &str)]) -> EventMessage {
        EventMessage {
            typ: Some(typ),
            action: Some(action.into()),
            actor: Some(EventActor {
                id: Some("c0ffee".into()),
                attributes: Some(
                    attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
                ),
            }),
            time_nano: Some(1_700_000_000_123_456_789),
            ..Default::default()
        }
    }

    #[test]
    fn another_stacks_events_do_not_pass_though_its_name_begins_alike() {
        let theirs = message(Kind::CONTAINER, "die", &[(NAMESPACE, "foo_bar"), ("exitCode", "1")]);
        assert_eq!(read("foo", theirs), None);
        assert_eq!(read("foo", message(Kind::SERVICE, "update", &[("name", "foobar_app")])), None);
        let ours = message(Kind::CONTAINER, "die", &[(NAMESPACE, "foo"), ("exitCode", "137")]);
        let what =
            What::Container { id: "c0ffee".into(), task: None, service: None, change: Change::Died { exit: 137 } };
        assert_eq!(read("foo", ours), Some(StackEvent { at: Time(1_700_000_000_123), what }));
    }
}

//! What belongs to a stack, and what only looks like it. Secrets that abra inserts bear no label, so names decide where
//! labels are silent; but `foo_bar_pw` may be stack `foo`'s or stack `foo_bar`'s, and another's things are never touched.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::client::{NAMESPACE, Swarm, SwarmFault};
use super::views::{Container, Network, Object, Service, Task, Volume};
use crate::model::StackName;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Service,
    /// One that Swarm has not ended: it may yet make a container, and with it volumes, after its service is gone.
    Task,
    Container,
    Network,
    Volume,
    Secret,
    Config,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Service => "service",
            Kind::Task => "task",
            Kind::Container => "container",
            Kind::Network => "network",
            Kind::Volume => "volume",
            Kind::Secret => "secret",
            Kind::Config => "config",
        })
    }
}

/// Something of a stack that is still there: `volume cust-9ad31f_ci_test_data (in use by …)`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leftover {
    pub kind: Kind,
    pub id: String,
    pub name: String,
    /// Why it could not be removed, where Docker said so.
    pub why: Option<String>,
}

impl fmt::Display for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)?;
        match &self.why {
            Some(why) => write!(f, " ({why})"),
            None => Ok(()),
        }
    }
}

/// Everything that is there of a stack.
pub async fn of(swarm: &Swarm, stack: &StackName) -> Result<Vec<Leftover>, SwarmFault> {
    let everything = Everything::look_for(swarm, stack).await?;
    Ok(everything.of(stack.as_str()))
}

/// All that Docker has, of whomever; tasks of one stack.
#[derive(Debug, Default)]
pub(super) struct Everything {
    pub services: Vec<Service>,
    pub tasks: Vec<Task>,
    pub containers: Vec<Container>,
    pub networks: Vec<Network>,
    pub volumes: Vec<Volume>,
    pub secrets: Vec<Object>,
    pub configs: Vec<Object>,
}

impl Everything {
    /// With the tasks of a stack.
    pub(super) async fn look_for(swarm: &Swarm, stack: &StackName) -> Result<Everything, SwarmFault> {
        let (everything, tasks) = tokio::try_join!(Everything::look(swarm), swarm.tasks(stack))?;
        Ok(Everything { tasks, ..everything })
    }

    /// Without tasks, which nobody claims.
    pub(super) async fn look(swarm: &Swarm) -> Result<Everything, SwarmFault> {
        let (services, containers, networks, volumes, secrets, configs) = tokio::try_join!(
            swarm.all_services(),
            swarm.labelled_containers(),
            swarm.networks(),
            swarm.volumes(),
            swarm.secrets(),
            swarm.configs(),
        )?;
        Ok(Everything { services, tasks: Vec::new(), containers, networks, volumes, secrets, configs })
    }

    pub(super) fn of(&self, stack: &str) -> Vec<Leftover> {
        let others = self.other_stacks(stack);
        let belongs = |name: &str, labels: &BTreeMap<String, String>| belongs(stack, &others, name, labels);
        let theirs = self.read_by_others(stack);
        let mut found = Vec::new();
        let mut push = |kind, id: &str, name: &str| {
            found.push(Leftover { kind, id: id.to_owned(), name: name.to_owned(), why: None });
        };
        for service in self.services.iter().filter(|service| belongs(&service.name, &service.labels)) {
            push(Kind::Service, &service.id, &service.name);
        }
        for task in self.tasks.iter().filter(|task| !task.state.is_over()) {
            push(Kind::Task, &task.id, &task.id);
        }
        for container in self.containers.iter().filter(|container| container.labels[NAMESPACE] == stack) {
            push(Kind::Container, &container.id, &container.name);
        }
        for network in self.networks.iter().filter(|network| belongs(&network.name, &network.labels)) {
            push(Kind::Network, &network.id, &network.name);
        }
        for volume in self.volumes.iter().filter(|volume| belongs(&volume.name, &volume.labels)) {
            push(Kind::Volume, &volume.name, &volume.name);
        }
        for (kind, objects) in [(Kind::Secret, &self.secrets), (Kind::Config, &self.configs)] {
            for object in objects.iter().filter(|object| belongs(&object.name, &object.labels)) {
                if object.labels.contains_key(NAMESPACE) || !theirs.contains(object.name.as_str()) {
                    push(kind, &object.id, &object.name);
                }
            }
        }
        found
    }

    /// Stacks that something else bears the label of.
    fn other_stacks(&self, stack: &str) -> BTreeSet<&str> {
        let services = self.services.iter().map(|service| &service.labels);
        let containers = self.containers.iter().map(|container| &container.labels);
        let networks = self.networks.iter().map(|network| &network.labels);
        let volumes = self.volumes.iter().map(|volume| &volume.labels);
        let objects = self.secrets.iter().chain(&self.configs).map(|object| &object.labels);
        services
            .chain(containers)
            .chain(networks)
            .chain(volumes)
            .chain(objects)
            .filter_map(|labels| labels.get(NAMESPACE))
            .map(String::as_str)
            .filter(|other| *other != stack)
            .collect()
    }

    /// Secrets and configs that services of other stacks, or of none, read.
    fn read_by_others(&self, stack: &str) -> BTreeSet<&str> {
        self.services
            .iter()
            .filter(|service| service.stack() != Some(stack))
            .flat_map(|service| service.secrets.iter().chain(&service.configs))
            .map(String::as_str)
            .collect()
    }
}

/// The label decides; where there is none, the name does, unless a stack with a longer name has the better claim to it.
fn belongs(stack: &str, others: &BTreeSet<&str>, name: &str, labels: &BTreeMap<String, String>) -> bool {
    if let Some(namespace) = labels.get(NAMESPACE) {
        return namespace == stack;
    }
    let begins = |stack: &str| name.strip_prefix(stack).is_some_and(|rest| rest.starts_with('_'));
    begins(stack) && !others.iter().any(|other| other.len() > stack.len() && begins(other))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn labels(stack: Option<&str>) -> BTreeMap<String, String> {
        stack.map(|stack| (NAMESPACE.to_owned(), stack.to_owned())).into_iter().collect()
    }

    fn object(name: &str, stack: Option<&str>) -> Object {
        Object { id: format!("id of {name}"), name: name.into(), labels: labels(stack) }
    }

    #[test]
    fn a_stack_whose_name_begins_alike_keeps_its_things() {
        let volume = |name: &str, stack| Volume { name: name.into(), mountpoint: String::new(), labels: labels(stack) };
        let everything = Everything {
            volumes: vec![volume("foo_bar_data", Some("foo_bar")), volume("foo_data", Some("foo"))],
            secrets: vec![
                object("foo_pw_v1", None),
                object("foo_bar_pw_v1", None),
                object("foobar_pw_v1", None),
                object("foo", None),
            ],
            configs: vec![object("something", Some("foo")), object("foo_conf_v1", Some("foo_bar"))],
            ..Everything::default()
        };
        let names: Vec<_> = everything.of("foo").into_iter().map(|left| left.name).collect();
        assert_eq!(names, ["foo_data", "foo_pw_v1", "something"]);
        let names: Vec<_> = everything.of("foo_bar").into_iter().map(|left| left.name).collect();
        assert_eq!(names, ["foo_bar_data", "foo_bar_pw_v1", "foo_conf_v1"]);
    }

    #[test]
    fn a_task_that_has_not_ended_is_left_though_its_service_is_gone() {
        let task = |id: &str, state: &str| {
            let json = serde_json::json!({
                "ID": id, "ServiceID": "gone", "Slot": 1, "Spec": {"ContainerSpec": {"Image": "a"}},
                "Status": {"State": state}, "DesiredState": "remove",
            });
            Task::read(json).unwrap()
        };
        let tasks = vec![task("one", "preparing"), task("two", "shutdown"), task("three", "running")];
        let left = Everything { tasks, ..Everything::default() }.of("foo");
        assert_eq!(left.iter().map(ToString::to_string).collect::<Vec<_>>(), ["task one", "task three"]);
    }

    #[test]
    fn a_leftover_says_what_it_is_and_why_it_stays() {
        let left = Leftover {
            kind: Kind::Volume,
            id: "x".into(),
            name: "foo_data".into(),
            why: Some("in use by somebody".into()),
        };
        assert_eq!(left.to_string(), "volume foo_data (in use by somebody)");
    }

    proptest! {
        /// Whatever the names: what bears another stack's label is never ours, and nothing is two stacks'.
        #[test]
        fn nothing_belongs_to_two_stacks(
            name in "[ab_]{1,8}", one in "[ab][ab_]{0,4}", other in "[ab][ab_]{0,4}", label in proptest::option::of("[ab][ab_]{0,4}"),
        ) {
            prop_assume!(one != other);
            let labels = labels(label.as_deref());
            let ours = belongs(&one, &BTreeSet::from([other.as_str()]), &name, &labels);
            let theirs = belongs(&other, &BTreeSet::from([one.as_str()]), &name, &labels);
            prop_assert!(!(ours && theirs));
            if let Some(label) = label {
                prop_assert_eq!(ours, label == one);
            }
        }
    }
}

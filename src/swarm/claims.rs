//! Whose a stack is. Everything that a run makes bears the appliance's mark and the run's number, but for secrets, which abra
//! makes without any label. So before anything else of an app there is a *claim*: a config of ours that bears the mark, and that
//! a teardown removes last. At every moment, in the middle of a deploy or of a teardown too, the stack says whose it is, and two
//! appliances on one Swarm each see what is their own. What bears nobody's mark is ours only where its name has the form of our
//! apps under our own domain and nothing of it runs: that is what a claim that went first would leave.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::client::{NAMESPACE, Swarm, SwarmFault};
use super::leftovers::{Everything, Leftover};
use crate::crash::crash_point;
use crate::model::{RunId, StackName};

/// Which run something was made for.
pub const RUN: &str = "cc-ci.run";
/// Which appliance made it.
pub const INSTANCE: &str = "cc-ci.instance";

/// Behind the stack's name and an underscore.
const CLAIM: &str = "cc-ci";

/// An appliance, as it names and marks what it makes.
#[derive(Clone, Debug)]
pub struct Owner {
    instance: String,
    /// The domain of its apps as it stands in stacks' names.
    base: String,
}

/// A stack that is an appliance's, and what there is of it.
#[derive(Clone, Debug)]
pub struct Claimed {
    pub stack: StackName,
    /// As its marks say.
    pub run: Option<RunId>,
    pub objects: Vec<Leftover>,
}

/// The marks of an appliance's run.
pub fn marks(run: RunId, instance: &str) -> BTreeMap<String, String> {
    [(RUN, run.to_string()), (INSTANCE, instance.to_owned())].map(|(key, value)| (key.to_owned(), value)).into()
}

fn claim_of(stack: &StackName) -> String {
    format!("{stack}_{CLAIM}")
}

/// Whether this is a claim by its name.
pub(super) fn is_claim(stack: &StackName, name: &str) -> bool {
    name == claim_of(stack)
}

impl Swarm {
    /// Says whose a stack is, before there is anything of it. A second time is as good as once.
    pub async fn claim(&self, stack: &StackName, run: RunId, instance: &str) -> Result<(), SwarmFault> {
        let words: Value = json!({"made by": "cc-ci", "run": run, "appliance": instance});
        match self.create_config(&claim_of(stack), marks(run, instance), words.to_string().as_bytes()).await {
            Err(fault) if fault.is_conflict() => Ok(()),
            made => made.map(|()| crash_point!("docker: claim made")),
        }
    }

    /// Every stack that is this appliance's.
    pub async fn claimed(&self, owner: &Owner) -> Result<Vec<Claimed>, SwarmFault> {
        Ok(Everything::look(self).await?.claimed(owner))
    }
}

impl Owner {
    /// `domain` is that under which its apps live.
    pub fn new(instance: &str, domain: &str) -> Owner {
        Owner { instance: instance.to_owned(), base: format!("_{}", domain.replace('.', "_")) }
    }

    /// The stack that a name begins with, where that has the form of our apps' stacks: `cust-9ad31f_ci_test`.
    fn stack_in<'a>(&self, name: &'a str) -> Option<&'a str> {
        let (head, rest) = name.split_once(&self.base)?;
        let (start, hex) = head.rsplit_once('-')?;
        let form = (1..=4).contains(&start.len())
            && start.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
            && hex.len() == 6
            && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let whole = rest.is_empty() || rest.starts_with('_');
        (form && whole).then(|| &name[..head.len() + self.base.len()])
    }
}

/// What the objects of one stack say.
#[derive(Debug, Default)]
struct Signs {
    ours: bool,
    others: bool,
    /// Something of it runs and bears nobody's mark.
    runs_unmarked: bool,
    run: Option<RunId>,
}

impl Everything {
    fn claimed(&self, owner: &Owner) -> Vec<Claimed> {
        let mut stacks: BTreeMap<&str, Signs> = BTreeMap::new();
        for (name, labels, runs) in self.all() {
            let mark = labels.get(INSTANCE);
            let of_label = labels.get(NAMESPACE).map(String::as_str);
            let of_claim = || name.strip_suffix(CLAIM)?.strip_suffix('_').filter(|_| mark.is_some());
            let Some(stack) = of_label.or_else(of_claim).or_else(|| owner.stack_in(name)) else { continue };
            let signs = stacks.entry(stack).or_default();
            match mark {
                Some(mark) if *mark == owner.instance => {
                    signs.ours = true;
                    signs.run = labels.get(RUN).and_then(|run| run.parse().ok()).or(signs.run);
                }
                Some(_) => signs.others = true,
                None => signs.runs_unmarked |= runs,
            }
        }
        let is_ours = |stack: &str, signs: &Signs| {
            signs.ours || (!signs.others && !signs.runs_unmarked && owner.stack_in(stack) == Some(stack))
        };
        let ours = stacks.iter().filter(|(stack, signs)| is_ours(stack, signs));
        ours.filter_map(|(stack, signs)| {
            let objects = self.of(stack);
            Some(Claimed { stack: stack.parse().ok()?, run: signs.run, objects })
        })
        .filter(|claimed| !claimed.objects.is_empty())
        .collect()
    }

    /// Each object's name and labels, and whether it is something that runs.
    fn all(&self) -> impl Iterator<Item = (&str, &BTreeMap<String, String>, bool)> {
        let services = self.services.iter().map(|service| (service.name.as_str(), &service.labels, true));
        let containers = self.containers.iter().map(|container| (container.name.as_str(), &container.labels, true));
        let networks = self.networks.iter().map(|network| (network.name.as_str(), &network.labels, false));
        let volumes = self.volumes.iter().map(|volume| (volume.name.as_str(), &volume.labels, false));
        let objects = self.secrets.iter().chain(&self.configs);
        let objects = objects.map(|object| (object.name.as_str(), &object.labels, false));
        services.chain(containers).chain(networks).chain(volumes).chain(objects)
    }
}

/// Stacks that are not among these.
pub fn without<'a>(claimed: Vec<Claimed>, live: impl IntoIterator<Item = &'a StackName>) -> Vec<Claimed> {
    let live: BTreeSet<&StackName> = live.into_iter().collect();
    claimed.into_iter().filter(|claimed| !live.contains(&claimed.stack)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm::views::{Container, Object, Volume};

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn object(name: &str, pairs: &[(&str, &str)]) -> Object {
        Object { id: format!("id of {name}"), name: name.into(), labels: labels(pairs) }
    }

    fn volume(name: &str, pairs: &[(&str, &str)]) -> Volume {
        Volume { name: name.into(), mountpoint: String::new(), labels: labels(pairs) }
    }

    fn container(name: &str, pairs: &[(&str, &str)]) -> Container {
        Container {
            id: name.into(),
            name: name.into(),
            running: true,
            task: None,
            labels: labels(pairs),
            nameless_volumes: Vec::new(),
        }
    }

    fn seen(everything: &Everything) -> Vec<(String, Option<i64>, usize)> {
        let claimed = everything.claimed(&Owner::new("house", "ci.test"));
        claimed.into_iter().map(|one| (one.stack.to_string(), one.run.map(|run| run.0), one.objects.len())).collect()
    }

    #[test]
    fn a_claim_alone_says_whose_the_secrets_beside_it_are() {
        let everything = Everything {
            secrets: vec![
                object("cust-9ad31f_ci_test_pw_v1", &[]),
                object("cust-aaaaaa_ci_test_pw_v1", &[]),
                object("old-name_elsewhere_pw_v1", &[]),
            ],
            configs: vec![
                object("cust-9ad31f_ci_test_cc-ci", &[(INSTANCE, "house"), (RUN, "7")]),
                object("cust-aaaaaa_ci_test_cc-ci", &[(INSTANCE, "another"), (RUN, "7")]),
                object("old-name_elsewhere_cc-ci", &[(INSTANCE, "house"), (RUN, "8")]),
            ],
            ..Everything::default()
        };
        let expected = [("cust-9ad31f_ci_test".to_owned(), Some(7), 2), ("old-name_elsewhere".to_owned(), Some(8), 2)];
        assert_eq!(seen(&everything), expected);
    }

    #[test]
    fn what_bears_nobodys_mark_is_ours_by_its_form_and_only_when_nothing_of_it_runs() {
        let named = |stack| [(NAMESPACE, stack)];
        let everything = Everything {
            volumes: vec![
                volume("cust-9ad31f_ci_test_data", &named("cust-9ad31f_ci_test")),
                volume("cust-bbbbbb_ci_test_data", &named("cust-bbbbbb_ci_test")),
                volume("witness_data", &named("witness")),
                volume("cust-cccccc_ci_test", &[]),
            ],
            containers: vec![container("cust-bbbbbb_ci_test_app.1", &named("cust-bbbbbb_ci_test"))],
            secrets: vec![object("cust-dddddd_ci_testing_pw_v1", &[]), object("keycloak-dddddd_ci_test_pw_v1", &[])],
            ..Everything::default()
        };
        assert_eq!(seen(&everything), [("cust-9ad31f_ci_test".to_owned(), None, 1)]);
    }

    #[test]
    fn the_form_of_a_stack_is_read_from_any_name_without_a_panic() {
        let owner = Owner::new("house", "ci.test");
        for (name, stack) in [
            ("cust-9ad31f_ci_test", Some("cust-9ad31f_ci_test")),
            ("a-9ad31f_ci_test_db_v1", Some("a-9ad31f_ci_test")),
            ("a-b-9ad31f_ci_test_x", Some("a-b-9ad31f_ci_test")),
            ("cust-9AD31F_ci_test", None),
            ("custom-9ad31f_ci_test", None),
            ("cust-9ad31f_ci_tests", None),
            ("-9ad31f_ci_test", None),
            ("ü-9ad31f_ci_test", None),
            ("ad31üf_ci_test", None),
            ("_ci_test", None),
            ("", None),
        ] {
            assert_eq!(owner.stack_in(name), stack, "{name}");
        }
    }

    #[test]
    fn what_is_live_is_not_among_those_that_go() {
        let claimed = |stack: &str| Claimed { stack: stack.parse().unwrap(), run: None, objects: Vec::new() };
        let left = without(vec![claimed("a"), claimed("b")], [&"a".parse().unwrap()]);
        assert_eq!(left.iter().map(|one| one.stack.as_str()).collect::<Vec<_>>(), ["b"]);
    }
}

//! What a run is going to do, said before it does it: which stages, from which base, how many deployments, and the reason for
//! each stage that is left out. Until the repository is there only the request is known ([`Plan::of`]); fetch fills in the rest.

use serde::{Deserialize, Serialize};

use crate::model::{Asked, Head, RecipeName, StageName, StageState};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// In their order.
    pub steps: Vec<Step>,
    /// The version that was asked for as the base.
    pub from: Option<String>,
    /// What an upgrade starts from.
    pub base: Option<Base>,
    /// Checks that the recipe declares itself.
    pub own_checks: usize,
    /// What is deployed before the app, in this order, since the recipe needs it.
    #[serde(default)]
    pub needs: Vec<Needed>,
    /// Why nothing of it can be tried, by no fault of the head: declared so, or what it needs is not to be had.
    #[serde(default, alias = "unsupported")]
    pub untestable: Option<String>,
}

/// A recipe that is deployed beside the one that is tested.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Needed {
    pub recipe: RecipeName,
    /// Its tag, or the first digits of its commit.
    pub version: String,
    /// Why this one: `the newest release`.
    pub why: String,
}

/// One stage of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    pub stage: StageName,
    /// Why it is left out, if it is.
    pub without: Option<Without>,
}

/// A stage that is left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Without {
    /// Declared so.
    NotApplicable(String),
    /// It should apply, and cannot be tried.
    NotTested(String),
}

/// The version that an upgrade starts from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    pub commit: Head,
    /// Its tag, or the first digits of its commit.
    pub name: String,
    /// Why this one: `the newest tag before the head`.
    pub why: String,
}

impl Plan {
    /// What a request means, before anything was read. A stage comes with those that it needs: the upgrade brings its own base,
    /// checks and backup need an app that is installed.
    pub fn of(asked: Asked, from: Option<&str>) -> Plan {
        let middle: &[StageName] = match asked {
            Asked::All => &[StageName::Install, StageName::Checks, StageName::Backup, StageName::Upgrade],
            Asked::Install => &[StageName::Install],
            Asked::Checks => &[StageName::Install, StageName::Checks],
            Asked::Backup => &[StageName::Install, StageName::Backup],
            Asked::Upgrade => &[StageName::Upgrade],
        };
        let stages = [StageName::Fetch, StageName::Lint].iter().chain(middle).chain([&StageName::Uninstall]);
        let steps = stages.map(|&stage| Step { stage, without: None }).collect();
        Plan { steps, from: from.map(str::to_owned), base: None, own_checks: 0, needs: Vec::new(), untestable: None }
    }

    /// As the rows of the stages begin.
    pub fn stages(&self) -> Vec<(StageName, StageState, Option<String>)> {
        let row = |step: &Step| match &step.without {
            None => (step.stage, StageState::Waiting, None),
            Some(without) => {
                let (state, reason) = without.said();
                (step.stage, state, Some(reason.to_owned()))
            }
        };
        self.steps.iter().map(row).collect()
    }

    /// Whether the stage is to be done.
    pub fn does(&self, stage: StageName) -> bool {
        self.steps.iter().any(|step| step.stage == stage && step.without.is_none())
    }

    /// Leaves a stage out; one that is not planned, or left out already, stays as it is.
    pub fn leave_out(&mut self, stage: StageName, without: Without) {
        let step = self.steps.iter_mut().find(|step| step.stage == stage && step.without.is_none());
        if let Some(step) = step {
            step.without = Some(without);
        }
    }

    /// Nothing of it can be tried: whatever would deploy something is left out, but for the stage in which that came out.
    pub fn give_up(&mut self, reason: &str, found_in: Option<StageName>) {
        let deploys = [StageName::Install, StageName::Checks, StageName::Backup, StageName::Upgrade];
        for stage in deploys.into_iter().filter(|stage| Some(*stage) != found_in) {
            self.leave_out(stage, Without::NotTested(reason.to_owned()));
        }
        self.untestable = Some(reason.to_owned());
    }

    /// Deployments that a stage makes when all goes well. What is needed beside the app comes with the first.
    pub fn deployments_of(&self, stage: StageName) -> usize {
        let own = self.of_the_app(stage);
        let first = self.steps.iter().map(|step| step.stage).find(|stage| self.of_the_app(*stage) > 0);
        if first == Some(stage) { own + self.needs.len() } else { own }
    }

    fn of_the_app(&self, stage: StageName) -> usize {
        match stage {
            _ if !self.does(stage) => 0,
            // Afresh, to restore onto volumes that are new.
            StageName::Install | StageName::Backup => 1,
            // The base, and the head over it.
            StageName::Upgrade => 2,
            StageName::Fetch | StageName::Lint | StageName::Checks | StageName::Uninstall => 0,
        }
    }

    pub fn deployments(&self) -> usize {
        self.steps.iter().map(|step| self.deployments_of(step.stage)).sum()
    }

    /// What people see of it: `first keycloak 10.7.0+26.0.6`, `install`, `checks (4)`, `upgrade from 1.3.2+25.0.6`, `uninstall`.
    /// Not what always is.
    pub fn parts(&self) -> Vec<String> {
        let needs = self.needs.iter().filter(|_| self.deployments() > 0);
        let first = needs.map(|need| format!("first {} {}", need.recipe, need.version));
        let steps = self.steps.iter().filter(|step| !matches!(step.stage, StageName::Fetch | StageName::Lint));
        let part = |step: &Step| match (&step.without, step.stage) {
            (Some(_), stage) => format!("no {stage}"),
            (None, StageName::Upgrade) => {
                let from = self.base.as_ref().map(|base| base.name.as_str()).or(self.from.as_deref());
                format!("upgrade from {}", from.unwrap_or("what is published"))
            }
            (None, StageName::Checks) if self.own_checks > 0 => format!("checks ({})", self.own_checks),
            (None, StageName::Backup) => "backup and restore".to_owned(),
            (None, stage) => stage.to_string(),
        };
        first.chain(steps.map(part)).collect()
    }
}

impl Without {
    /// The state of its stage, and why.
    pub fn said(&self) -> (StageState, &str) {
        match self {
            Without::NotApplicable(reason) => (StageState::NotApplicable, reason),
            Without::NotTested(reason) => (StageState::NotTested, reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_brings_what_it_needs_and_no_more() {
        let words = |asked| Plan::of(asked, None).parts().join(" · ");
        assert_eq!(words(Asked::Install), "install · uninstall");
        assert_eq!(words(Asked::Upgrade), "upgrade from what is published · uninstall");
        assert_eq!(words(Asked::Backup), "install · backup and restore · uninstall");
        assert_eq!(Plan::of(Asked::Upgrade, Some("1.0.0+1")).parts()[0], "upgrade from 1.0.0+1");
        assert_eq!(Plan::of(Asked::Upgrade, None).deployments(), 2);
        assert_eq!(Plan::of(Asked::Install, None).deployments(), 1);
    }

    #[test]
    fn what_it_needs_comes_with_the_first_deployment() {
        let needs = vec![Needed { recipe: "sso".parse().unwrap(), version: "1.0.0+1".into(), why: "so".into() }];
        let mut plan = Plan { needs, ..Plan::of(Asked::All, None) };
        assert_eq!(plan.parts()[..2], ["first sso 1.0.0+1", "install"]);
        let of =
            |plan: &Plan| [StageName::Install, StageName::Backup, StageName::Upgrade].map(|at| plan.deployments_of(at));
        assert_eq!((of(&plan), plan.deployments()), ([2, 1, 2], 5));
        assert_eq!(of(&Plan { needs: plan.needs.clone(), ..Plan::of(Asked::Upgrade, None) }), [0, 0, 3]);
        plan.give_up("sso does not come up", Some(StageName::Install));
        assert_eq!(of(&plan), [2, 0, 0]);
        plan.give_up("sso does not come up", None);
        assert_eq!((plan.deployments(), plan.parts()[0].as_str()), (0, "no install"));
    }

    #[test]
    fn what_is_left_out_is_said_and_not_counted() {
        let mut plan = Plan::of(Asked::All, None);
        let all = plan.deployments();
        plan.leave_out(StageName::Upgrade, Without::NotTested("nothing to upgrade from".into()));
        plan.leave_out(StageName::Upgrade, Without::NotTested("never said".into()));
        assert_eq!(plan.deployments(), all - 2);
        assert!(plan.parts().contains(&"no upgrade".to_owned()));
        let rows = plan.stages();
        let upgrade = rows.iter().find(|(stage, ..)| *stage == StageName::Upgrade).unwrap();
        assert_eq!(upgrade.1, StageState::NotTested);
        assert_eq!(upgrade.2.as_deref(), Some("nothing to upgrade from"));
        let text = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan);
    }
}

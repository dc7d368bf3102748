//! The level of a recipe, worked out from one run and those before it: the highest with all below it earned, and the reason
//! why it is no higher. A stage that does not apply caps it, since nobody saw it work; the reason says so, and blames nobody.

use crate::model::{StageName, StageState};
use crate::store::stages::Stage;

/// The highest there is.
pub const HIGHEST: i64 = 6;
/// Whole runs in a row that the highest level takes, this one with them.
pub const IN_A_ROW: usize = 5;

/// Runs before this one that have a say.
pub const LOOKED_BACK: u32 = 4;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Level {
    pub number: i64,
    /// What the next level lacks; empty on the highest.
    pub reason: String,
}

/// What a level is made of.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    pub stages: &'a [Stage],
    /// Of lint.
    pub warnings: usize,
    /// What the other stages warned of, in words; the first of each counts.
    pub doubts: &'a [(StageName, String)],
    /// Checks that the recipe declares itself.
    pub own_checks: usize,
    /// Levels of the whole tests before this one, newest first.
    pub before: &'a [i64],
}

/// What has to pass for each of the first levels, and how it is called.
const RUNGS: [(i64, StageName, &str); 4] = [
    (1, StageName::Install, "the installation"),
    (2, StageName::Upgrade, "the upgrade"),
    (3, StageName::Backup, "backup and restore"),
    (4, StageName::Checks, "the recipe's own checks"),
];

/// The level that a whole test earned; `None` when it was broken off before it could say.
pub fn of(seen: Seen) -> Option<Level> {
    for (number, stage, name) in RUNGS {
        let found = seen.stages.iter().find(|found| found.name == stage);
        let reason = found.and_then(|found| found.reason.as_deref()).unwrap_or("no reason was noted");
        let lacks = match found.map(|found| found.state) {
            Some(StageState::Passed) if stage == StageName::Checks && seen.own_checks == 0 => {
                "the recipe has no checks of its own".to_owned()
            }
            Some(StageState::Passed) => match seen.doubts.iter().find(|(of, _)| *of == stage) {
                Some((_, doubt)) => format!("{name} passed with a warning: {doubt}"),
                None => continue,
            },
            None => format!("{name} was not tested"),
            Some(StageState::Failed | StageState::TimedOut) => format!("{name} failed"),
            Some(StageState::NotApplicable) => format!("{name} does not apply: {reason}"),
            Some(StageState::NotTested) => format!("{name} could not be tested: {reason}"),
            // What was broken off says nothing of the recipe; what came before it fell short by itself.
            Some(StageState::Skipped) if failed_before(seen.stages, stage) => format!("{name} was not reached"),
            Some(StageState::Skipped | StageState::Infra | StageState::Waiting | StageState::Running) => return None,
        };
        return Some(Level { number: number - 1, reason: lacks });
    }
    if seen.warnings > 0 {
        let warnings = if seen.warnings == 1 { "1 warning".to_owned() } else { format!("{} warnings", seen.warnings) };
        return Some(Level { number: 4, reason: format!("lint has {warnings}") });
    }
    let row = 1 + seen.before.iter().take_while(|level| **level >= 5).count();
    if row < IN_A_ROW {
        let reason = format!("level 5 in {row} of {IN_A_ROW} runs in a row");
        return Some(Level { number: 5, reason });
    }
    Some(Level { number: HIGHEST, reason: String::new() })
}

fn failed_before(stages: &[Stage], stage: StageName) -> bool {
    stages
        .iter()
        .take_while(|found| found.name != stage)
        .any(|found| matches!(found.state, StageState::Failed | StageState::TimedOut))
}

/// The `Tests` score of a recipe's README, as Co-op Cloud defines it: 3 with health checks, 2 for a deploy with secrets and
/// networks made by themselves, 0 where none of it was seen to work. A deploy by hand, its 1, cc-ci does not do.
pub fn readme_score(stages: &[Stage], all_health_checked: bool) -> u8 {
    let installed = stages.iter().any(|stage| stage.name == StageName::Install && stage.state == StageState::Passed);
    match (installed, all_health_checked) {
        (false, _) => 0,
        (true, false) => 2,
        (true, true) => 3,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use StageState::{Failed, Infra, NotApplicable, NotTested, Passed, Skipped};

    fn stages(states: [StageState; 4]) -> Vec<Stage> {
        let names = [StageName::Install, StageName::Checks, StageName::Backup, StageName::Upgrade];
        (0..)
            .zip(names.into_iter().zip(states))
            .map(|(ordinal, (name, state))| Stage {
                ordinal,
                name,
                state,
                reason: (state != Passed).then(|| "so it is".to_owned()),
                started_at: None,
                finished_at: None,
                waited: Duration::ZERO,
            })
            .collect()
    }

    /// Install, checks, backup, upgrade.
    fn level(states: [StageState; 4], warnings: usize, own_checks: usize, before: &[i64]) -> Option<(i64, String)> {
        let stages = stages(states);
        let seen = Seen { stages: &stages, warnings, doubts: &[], own_checks, before };
        of(seen).map(|level| (level.number, level.reason))
    }

    #[test]
    fn a_warning_of_a_stage_keeps_its_level_from_being_earned() {
        let stages = stages([Passed; 4]);
        let level = |doubts: &[(StageName, String)]| {
            of(Seen { stages: &stages, warnings: 0, doubts, own_checks: 1, before: &[] }).unwrap()
        };
        let doubt = |stage| (stage, "no row".to_owned());
        let of_both = level(&[doubt(StageName::Backup), doubt(StageName::Upgrade)]);
        assert_eq!((of_both.number, of_both.reason.as_str()), (1, "the upgrade passed with a warning: no row"));
        let of_backup = level(&[doubt(StageName::Backup)]);
        assert_eq!(
            (of_backup.number, of_backup.reason.as_str()),
            (2, "backup and restore passed with a warning: no row")
        );
    }

    #[test]
    fn a_level_is_the_highest_with_all_below_it_and_says_what_the_next_lacks() {
        let all = [Passed, Passed, Passed, Passed];
        for (got, number, reason) in [
            (level([Failed, Skipped, Skipped, Skipped], 0, 1, &[]), 0, "the installation failed"),
            (level([Passed, Passed, Passed, Failed], 0, 1, &[]), 1, "the upgrade failed"),
            (level([Passed, Passed, Passed, NotTested], 0, 1, &[]), 1, "the upgrade could not be tested: so it is"),
            (level([Passed, Passed, Failed, Passed], 0, 1, &[]), 2, "backup and restore failed"),
            (
                level([Passed, Passed, NotApplicable, Passed], 0, 1, &[]),
                2,
                "backup and restore does not apply: so it is",
            ),
            (level([Passed, Failed, Passed, Passed], 0, 1, &[]), 3, "the recipe's own checks failed"),
            (level(all, 0, 0, &[]), 3, "the recipe has no checks of its own"),
            (level(all, 2, 1, &[]), 4, "lint has 2 warnings"),
            (level(all, 0, 1, &[]), 5, "level 5 in 1 of 5 runs in a row"),
            (level(all, 0, 1, &[5, 6, 4, 5, 5]), 5, "level 5 in 3 of 5 runs in a row"),
            (level(all, 0, 1, &[5, 6, 5, 5]), 6, ""),
        ] {
            assert_eq!(got, Some((number, reason.to_owned())));
        }
    }

    #[test]
    fn what_was_broken_off_has_no_level() {
        assert_eq!(level([Passed, Passed, Passed, Infra], 0, 1, &[]), None);
        assert_eq!(level([Infra, Skipped, Skipped, Skipped], 0, 1, &[]), None);
        assert_eq!(level([Passed, Passed, Skipped, Skipped], 0, 1, &[]), None);
    }

    #[test]
    fn the_score_of_the_readme_follows_its_definition() {
        let good = stages([Passed, Passed, Passed, Failed]);
        assert_eq!(readme_score(&good, true), 3);
        assert_eq!(readme_score(&good, false), 2);
        assert_eq!(readme_score(&stages([Failed, Skipped, Skipped, Skipped]), true), 0);
    }
}

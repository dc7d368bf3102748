//! Where the time of a recipe's last runs went, drawn as columns: one a run, oldest first, its stages on top of each other.
//! Colours come from the stylesheet; the numbers stand in a table beside it.

use std::time::Duration;

use maud::{Markup, html};

use super::{links, words};
use crate::model::{Outcome, RunId};
use crate::store::stages::Stage;

const COLUMN: usize = 36;
const BAR: usize = 24;
const HEIGHT: u128 = 130;
/// Above the columns, for how long the whole took.
const HEAD: u128 = 16;
/// Columns there is room for.
const COLUMNS: usize = 10;

pub(super) fn took(stage: &Stage) -> Option<Duration> {
    Some(stage.finished_at?.since(stage.started_at?))
}

/// `runs` newest first.
pub(super) fn stages_of_runs(runs: &[(RunId, Option<Outcome>, Vec<Stage>)]) -> Markup {
    let whole = |stages: &[Stage]| stages.iter().filter_map(took).sum::<Duration>();
    let longest = runs.iter().map(|(_, _, stages)| whole(stages).as_millis()).max().unwrap_or(0).max(1);
    let first = COLUMNS.saturating_sub(runs.len());
    let bottom = HEAD + HEIGHT;
    html! {
        svg.chart viewBox={ "0 0 " (COLUMN * COLUMNS) " " (bottom + 18) } role="group" aria-label="Time per stage of the last runs" {
            @for (column, (id, outcome, stages)) in runs.iter().rev().enumerate() {
                @let left = (first + column) * COLUMN + (COLUMN - BAR) / 2;
                @let standing = words::standing(*outcome, true);
                @let bars = stack(stages, longest);
                @let top = bars.iter().map(|bar| bar.height).sum::<u128>();
                a href=(links::run(*id)) {
                    title { "Run " (id) " " (standing.word) ", " (words::span(whole(stages))) }
                    @for bar in &bars {
                        rect class=(bar.stage) x=(left) y=(bottom - bar.above) width=(BAR) height=(bar.height) {}
                    }
                    text x=(left + BAR / 2) y=(bottom - top - 4) { (words::span(whole(stages))) }
                    text class=(standing.class) x=(left + BAR / 2) y=(bottom + 13) { (id) }
                }
            }
        }
    }
}

struct Bar {
    stage: String,
    height: u128,
    /// Its upper edge over the ground.
    above: u128,
}

fn stack(stages: &[Stage], longest: u128) -> Vec<Bar> {
    let mut ground = 0;
    let bars = stages.iter().filter_map(|stage| {
        let height = took(stage)?.as_millis() * HEIGHT / longest;
        if height == 0 {
            return None;
        }
        ground += height;
        Some(Bar { stage: stage.name.to_string(), height, above: ground })
    });
    bars.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Time;
    use crate::model::{StageName, StageState};

    fn stage(name: StageName, seconds: Option<i64>) -> Stage {
        Stage {
            ordinal: 0,
            name,
            state: StageState::Passed,
            reason: None,
            started_at: Some(Time(0)),
            finished_at: seconds.map(|seconds| Time(seconds * 1000)),
            waited: Duration::ZERO,
        }
    }

    #[test]
    fn columns_are_as_high_as_they_took_and_never_leave_the_drawing() {
        let stages =
            [stage(StageName::Install, Some(30)), stage(StageName::Checks, None), stage(StageName::Backup, Some(70))];
        let bars = stack(&stages, 100_000);
        let shown: Vec<_> = bars.iter().map(|bar| (bar.stage.as_str(), bar.height, bar.above)).collect();
        assert_eq!(shown, [("install", 39, 39), ("backup", 91, 130)]);
        let none = stages_of_runs(&[(RunId(1), None, Vec::new())]).into_string();
        assert!(!none.contains("<rect"), "{none}");
    }
}

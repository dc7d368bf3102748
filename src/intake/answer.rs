//! What intake says to people: refusals with their cure, and answers that need no run. Pure text; it is posted by `report`.

use crate::clock::Time;
use crate::config;
use crate::model::{Asked, Head, Outcome, RunId, VersionName};
use crate::report::markdown::{code, short, text};
use crate::report::words;
use crate::store::runs::Run;

/// Said to a person, on the pull request. It names the thing and the cure.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("not a member of {organisation}")]
    NotAMember { author: String, organisation: String },
    #[error("cannot check who may ask: {0}")]
    CannotCheck(String),
    #[error("the pull request is merged")]
    Merged,
    #[error("the pull request is closed")]
    Closed,
    #[error("the pull request is not there any more")]
    Gone,
    #[error("pushed to after the comment; its head is {head} now", head = .0.short())]
    HeadMoved(Head),
    #[error("the forge's timeline does not show that {head} was there before the comment", head = .0.short())]
    HeadUnclear(Head),
    #[error("{0} has {1} runs waiting, as many as one member may have")]
    MemberQuota(String, u32),
    #[error("{0} runs were asked for here within an hour, as many as may be")]
    PullRequestQuota(u32),
}

impl Refusal {
    /// The whole answer; `None` where there is nobody to answer.
    pub(super) fn reply(&self, forge: &config::Forge) -> Option<String> {
        let again = |head: &Head| format!("Write `!testme` again to test {}.", code(head.short()));
        Some(match self {
            Refusal::NotAMember { author, organisation } => format!(
                "**Not tested:** {author} is not a member of {organisation}. Any [member]({url}/org/{organisation_path}/members) \
                 can write `!testme` here; to become one, ask an owner of {organisation}.",
                author = code(author),
                organisation = code(organisation),
                organisation_path = organisation,
                url = forge.url.trim_end_matches('/'),
            ),
            Refusal::CannotCheck(_) => format!(
                "**Not tested:** cc-ci cannot find out who may ask, because its account on this forge lacks a right. Whoever \
                 runs cc-ci was told what is missing ({organisation}). Write `!testme` again when that is mended.",
                organisation = code(forge.organisation.as_str()),
            ),
            Refusal::Merged => "**Not tested:** this pull request is merged already.".into(),
            Refusal::Closed => {
                "**Not tested:** this pull request is closed. Reopen it and write `!testme` again.".into()
            }
            Refusal::Gone => return None,
            Refusal::HeadMoved(head) => {
                format!("**Not tested:** the pull request was pushed to after this was asked. {}", again(head))
            }
            Refusal::HeadUnclear(head) => format!(
                "**Not tested:** the forge does not say for certain that {} was there when this was asked. {}",
                code(head.short()),
                again(head)
            ),
            Refusal::MemberQuota(author, most) => format!(
                "**Not tested:** {} has {most} requests waiting already, as many as one member may have. Write `!testme` again \
                 when some of them are done, or `!testme cancel` where one is not wanted any more.",
                code(author)
            ),
            Refusal::PullRequestQuota(most) => format!(
                "**Not tested:** {most} tests of this pull request were asked for within an hour, as many as may be. Write \
                 `!testme` again later."
            ),
        })
    }
}

/// An answer to `!testme help`.
pub(super) fn help(forge: &config::Forge) -> String {
    format!(
        "**cc-ci** deploys the head of a pull request for real, tests it and answers here. Members of {} may ask.\n\n{}",
        code(forge.organisation.as_str()),
        super::command::help()
    )
}

/// An answer to words nobody knows, or that do not go together.
pub(super) fn unknown(words: &str) -> String {
    if let Some(wrong) = wrong_from(words) {
        return format!(
            "**Nothing done:** {wrong}, as in `!testme upgrade from=1.3.2+25.0.6`. `!testme help` explains it.",
        );
    }
    format!(
        "**Nothing done:** {} means nothing here. `!testme` alone tests everything; after it can come `install`, `checks`, \
         `backup`, `upgrade` (with `from=VERSION`), `again`, `status` or `cancel`. `!testme help` explains them.",
        code(words)
    )
}

/// What is wrong with a `from=` among words that are known otherwise.
fn wrong_from(words: &str) -> Option<String> {
    let (from, rest): (Vec<&str>, Vec<&str>) = words.split(' ').partition(|word| word.starts_with("from="));
    let version = from.first()?.strip_prefix("from=")?;
    if version.is_empty() {
        return Some("`from=` needs a version".into());
    }
    if version.parse::<VersionName>().is_err() {
        return Some(format!("{} is no version. `from=` needs one that the recipe has a tag for", code(version)));
    }
    if from.len() > 1 {
        return Some("an upgrade starts from one version, and `from=` is there twice".into());
    }
    let known = |word: &&str| *word == "again" || word.parse::<Asked>().is_ok();
    let words = "`from=` says what the upgrade starts from, so it goes with `!testme` alone or with `upgrade`";
    rest.iter().all(known).then(|| words.into())
}

/// This head passed, so there is nothing to do.
pub(super) fn passed_already(run: &Run, address: &str) -> String {
    format!(
        "**Passed already:** {} was tested {} and passed ({}). `!testme again` tests it once more.",
        code(run.head.short()),
        when(run.finished_at),
        link(run.id, address),
    )
}

/// This head is being tested right now.
pub(super) fn runs_already(run: &Run, address: &str) -> String {
    format!(
        "**Running already:** {} is being tested since {} ({}). `!testme again` tests it once more afterwards.",
        code(run.head.short()),
        clock_time(run.started_at),
        link(run.id, address),
    )
}

/// What became of `!testme cancel`.
pub(super) fn cancelled(waiting: &[RunId], running: &[RunId], address: &str) -> String {
    let links = |runs: &[RunId]| runs.iter().map(|run| link(*run, address)).collect::<Vec<_>>().join(", ");
    match (waiting, running) {
        ([], []) => "**Nothing to cancel:** nothing waits or runs for this pull request.".into(),
        (waiting, []) => format!("**Cancelled:** {} will not start.", links(waiting)),
        ([], running) => format!("**Cancelling:** {} stops, and what it deployed is removed.", links(running)),
        (waiting, running) => format!(
            "**Cancelling:** {} stops, and what it deployed is removed; {} will not start.",
            links(running),
            links(waiting)
        ),
    }
}

/// An answer to `!testme status`: the newest runs here, those that wait with their place.
pub(super) fn status(runs: &[Run], place: impl Fn(RunId) -> Option<usize>, address: &str) -> String {
    if runs.is_empty() {
        return "**Nothing yet:** no test of this pull request waits, runs or ran. A member can write `!testme`."
            .into();
    }
    let mut lines = vec!["**Here:**".to_owned(), String::new()];
    for run in runs.iter().take(5) {
        lines.push(format!("- {} of {}: {}", link(run.id, address), code(run.head.short()), how_it_is(run, &place)));
    }
    lines.join("\n")
}

fn how_it_is(run: &Run, place: &impl Fn(RunId) -> Option<usize>) -> String {
    match (run.outcome, run.started_at) {
        (Some(Outcome::Passed), _) => format!("passed {}", when(run.finished_at)),
        (Some(outcome), _) => {
            let reason = text(&short(run.reason.as_deref().unwrap_or_default(), 200));
            let colon = if reason.is_empty() { "" } else { ": " };
            format!("{outcome} {}{colon}{reason}", when(run.finished_at))
        }
        (None, Some(_)) => format!("running since {}", clock_time(run.started_at)),
        (None, None) => match place(run.id) {
            Some(place) => format!("waiting, {} in the queue", words::place(place).to_lowercase()),
            None => "waiting".into(),
        },
    }
}

fn link(run: RunId, address: &str) -> String {
    format!("[run {run}]({address}/runs/{run})")
}

fn when(at: Option<Time>) -> String {
    at.map_or_else(String::new, |at| at.format("on %-d %B %Y at %H:%M UTC"))
}

fn clock_time(at: Option<Time>) -> String {
    at.map_or_else(String::new, |at| at.format("%H:%M UTC"))
}

#[cfg(test)]
mod tests {
    use super::super::command::Command;
    use super::*;

    #[test]
    fn no_answer_is_a_command() {
        let head: Head = "3f9c2ab1".repeat(5).parse().unwrap();
        let forge = crate::intake::pretend::rule();
        for refusal in [
            Refusal::NotAMember { author: "mallory".into(), organisation: "recipes".into() },
            Refusal::CannotCheck("303".into()),
            Refusal::Merged,
            Refusal::Closed,
            Refusal::HeadMoved(head.clone()),
            Refusal::HeadUnclear(head),
            Refusal::MemberQuota("member".into(), 20),
            Refusal::PullRequestQuota(12),
        ] {
            let reply = refusal.reply(&forge).unwrap();
            assert_eq!(Command::find(&reply), None, "{reply}");
        }
        for (words, said) in [
            ("upgrade from=", "`from=` needs a version, as in"),
            ("upgrade from=$(id)", "`$(id)` is no version."),
            ("from=1 from=2", "is there twice"),
            ("install from=1.0.0", "goes with `!testme` alone or with `upgrade`"),
            ("plaese from=1.0.0", "means nothing here"),
        ] {
            let reply = unknown(words);
            assert!(reply.contains(said), "{words}: {reply}");
            assert_eq!(Command::find(&reply), None, "{reply}");
        }
        for reply in [help(&forge), unknown("please"), cancelled(&[RunId(1)], &[RunId(2)], "http://ci")] {
            assert_eq!(Command::find(&reply), None, "{reply}");
        }
    }
}

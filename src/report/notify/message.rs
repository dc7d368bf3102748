//! What is said: one line that says it all, and the address where the rest stands. Names and reasons come from pull requests,
//! so they are masked and flat before they stand in a sentence of ours.

use serde_json::{Value, json};

use crate::clock::Time;
use crate::model::NoticeKind;
use crate::report::Mask;
use crate::report::markdown::{flat, short};
use crate::store::notices::Delivery;
use crate::store::runs::Run;

/// The longest reason that is repeated.
const REASON: usize = 300;
const NAME: usize = 80;

/// One message, for whatever target.
#[derive(Clone, Debug)]
pub struct Message {
    /// The same for each attempt, and no other's.
    pub id: String,
    /// `red`, `green`, `alarm`, `alarm-over`, `test`.
    pub event: &'static str,
    pub at: Time,
    /// One line.
    pub subject: String,
    pub text: String,
    /// Where to read on.
    pub url: String,
    /// For programs: what it is about.
    pub about: Value,
}

impl Message {
    pub fn test(target: &str, address: &str, now: Time) -> Message {
        Message {
            id: format!("test-{}", now.0),
            event: "test",
            at: now,
            subject: "a test".into(),
            text: format!("This is a test: cc-ci at {address} reaches the target {target}."),
            url: address.into(),
            about: json!({}),
        }
    }

    /// Subject, text and address as one text of two lines.
    pub(super) fn whole(&self) -> String {
        format!("{}\n{}", self.text, self.url)
    }
}

/// The message of a notice. Its run is there as long as its notice is.
pub(super) fn of(delivery: &Delivery, run: Option<&Run>, address: &str, mask: &Mask) -> Message {
    let safe = |text: &str, most: usize| short(&flat(&mask(text)), most);
    let id = format!("{}-{}", delivery.created_at.0, delivery.notice);
    let (event, at) = (delivery.kind.as_str(), delivery.created_at);
    let Some(run) = run else {
        let alarm = delivery.alarm.as_deref().unwrap_or_default();
        let words = delivery.words.as_deref().map(|words| safe(words, REASON));
        let subject = match delivery.kind {
            NoticeKind::Over => format!("alarm {alarm} is over"),
            _ => format!("alarm {alarm}"),
        };
        let text = words.as_ref().map_or_else(|| subject.clone(), |words| format!("{subject}: {words}"));
        let about = json!({ "alarm": alarm, "words": words });
        return Message { id, event, at, subject, text, url: format!("{address}/ready"), about };
    };
    let recipe = safe(&run.recipe, NAME);
    let reason = run.reason.as_deref().map(|reason| safe(reason, REASON)).filter(|reason| !reason.is_empty());
    let whose = match run.pr {
        Some(pr) => format!("{recipe} #{pr}"),
        None => format!("{recipe} ({})", safe(run.base_branch.as_deref().unwrap_or("base branch"), NAME)),
    };
    let subject = match delivery.kind {
        NoticeKind::Green => format!("{whose} is green again"),
        _ => format!("{whose} turned red"),
    };
    let text = match (&reason, delivery.kind) {
        (Some(reason), NoticeKind::Red) => format!("{subject}: {reason}"),
        _ => subject.clone(),
    };
    let about = json!({
        "recipe": recipe, "repository": safe(&run.repo_name, NAME), "pr": run.pr, "run": run.id,
        "head": run.head.as_str(), "origin": run.origin, "outcome": run.outcome, "reason": reason,
    });
    Message { id, event, at, subject, text, url: format!("{address}/runs/{}", run.id), about }
}

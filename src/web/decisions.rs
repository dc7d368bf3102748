//! "Why did nothing happen?": every comment that asked for something or named the command, what was decided, and why.

use maud::{Markup, html};

use super::layout::{self, Shell, Tab};
use super::outside::{Outside, Said};
use super::{Site, answer::Wrong, links, words};
use crate::clock::Time;
use crate::model::{CommentId, Verdict};
use crate::store::comments::{self, Decision};

pub(super) const ROWS: u32 = 50;

pub(super) struct Decisions {
    pub now: Time,
    pub forge: Option<String>,
    pub before: Option<(Time, CommentId)>,
    pub rows: Vec<Decision>,
    pub more: bool,
}

/// `before=MILLISECONDS-COMMENT`, the last row of the page before.
pub(super) fn parse(before: Option<&str>) -> Result<Option<(Time, CommentId)>, Wrong> {
    let Some(before) = before.filter(|before| !before.is_empty()) else { return Ok(None) };
    let parts = before.split_once('-').and_then(|(at, id)| Some((Time(at.parse().ok()?), CommentId(id.parse().ok()?))));
    parts.map(Some).ok_or_else(|| Wrong::parameter("before", format!("is where an earlier page ended, not `{before}`")))
}

pub(super) fn address(before: Option<(Time, CommentId)>) -> String {
    before.map_or_else(|| "/decisions".into(), |(at, id)| format!("/decisions?before={}-{id}", at.0))
}

pub(super) async fn load(site: &Site, before: Option<(Time, CommentId)>) -> Result<Decisions, Wrong> {
    let mut rows = site.store.read(move |db| comments::decisions(db, before, ROWS + 1)).await?;
    let more = rows.len() > ROWS as usize;
    rows.truncate(ROWS as usize);
    Ok(Decisions { now: site.now(), forge: site.forge.clone(), before, rows, more })
}

pub(super) fn view(decisions: &Decisions) -> Markup {
    let days: Vec<String> = decisions.rows.iter().map(|row| row.decided_at.format("%A, %-d %B %Y")).collect();
    let body = html! {
        h1 { "Decisions" }
        p.lead { "Every comment that asked for something or named the command, and what came of it." }
        @if decisions.rows.is_empty() {
            @if decisions.before.is_some() {
                (layout::empty("No older decisions", &html! { a href="/decisions" { "The newest ones" } }))
            } @else {
                (layout::empty("Nobody has asked for anything yet", &html! {
                    "Each " code { "!testme" } " leaves a line here, the refused ones with the reason."
                }))
            }
        } @else {
            div.decisions {
                @for (number, decision) in decisions.rows.iter().enumerate() {
                    @if number == 0 || days[number] != days[number - 1] { h2 { (days[number]) } }
                    (row(decisions, decision))
                }
            }
        }
        @if decisions.more || decisions.before.is_some() {
            nav.pager aria-label="More decisions" {
                @if decisions.before.is_some() { a href="/decisions" { "Newest" } } @else { span {} }
                @if let (true, Some(last)) = (decisions.more, decisions.rows.last()) {
                    a href=(address(Some((last.decided_at, last.comment)))) rel="next" { "Older" }
                }
            }
        }
        section.prose {
            h2 { "Nothing here for your comment?" }
            p {
                "Only a new comment counts, not an edited one; the command stands at the start of a line of plain text, outside code and quotes. "
                "Pull requests of " a href="/repositories" { "repositories that are not enrolled" } " are not read, and a comment that came in while the forge could not be reached appears after the next look."
            }
        }
    };
    layout::page(&Shell { title: "Decisions", tab: Some(Tab::Decisions), refresh: None }, &body)
}

fn row(decisions: &Decisions, decision: &Decision) -> Markup {
    let (class, word) = match decision.verdict {
        Verdict::Accepted => ("passed", "accepted"),
        Verdict::Refused => ("failed", "refused"),
        Verdict::Answered => ("waiting", "answered"),
        Verdict::Ignored => ("cancelled", "ignored"),
    };
    let standing = words::Standing { class, word };
    let name = decision.repo.split_once('/').map_or(decision.repo.as_str(), |(_, name)| name);
    let number = decision.pr.map(|pr| format!(" #{pr}")).unwrap_or_default();
    let page = decision.pr.and_then(|pr| links::pull_request(decisions.forge.as_deref(), &decision.repo, pr));
    html! {
        div.decision {
            time datetime=(decision.decided_at.rfc3339_seconds()) title=(words::absolute(decision.decided_at)) {
                (decision.decided_at.format("%H:%M"))
            }
            p {
                @if let Some(page) = page {
                    a href={ (page) "#issuecomment-" (decision.comment) } rel="noreferrer" { b { (Outside(name)) (number) } }
                } @else { b { (Outside(name)) (number) } }
                " · @" (Outside(&decision.author)) " · " code title=(Outside(&decision.excerpt)) { (Outside(&decision.command)) }
            }
            p {
                (standing.shown())
                @match decision.run {
                    Some(run) => { ": queued as " a href=(links::run(run)) { "run " (run) } }
                    None => { ": " (Said(&decision.reason)) }
                }
            }
        }
    }
}

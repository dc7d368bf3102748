//! A recipe's last verdict as a small picture for its README.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::json;

use super::answer::{Rendered, Wrong};
use super::{Fresh, Site};
use crate::model::Outcome;
use crate::store::pages::{self, Brief};

/// How long READMEs may show what was.
const CACHING: &str = "public, max-age=30";

const GREEN: &str = "#1a7f4b";
const OCHRE: &str = "#8f5a00";
const RED: &str = "#b42828";
const GREY: &str = "#5d636d";

/// How its last run came out, with its level.
pub(super) async fn verdict(site: &Site, recipe: String) -> Result<Fresh, Wrong> {
    let latest = site.store.read(move |db| pages::latest_of_recipe(db, &recipe, 20)).await?;
    let (words, colour) = last_word(&latest);
    Ok(fresh(svg("cc-ci", &words, colour)))
}

/// The same as shields.io's endpoint reads it.
pub(super) async fn shield(site: &Site, recipe: String) -> Result<Fresh, Wrong> {
    let latest = site.store.read(move |db| pages::latest_of_recipe(db, &recipe, 20)).await?;
    let (message, color) = last_word(&latest);
    let shield = json!({ "schemaVersion": 1, "label": "cc-ci", "message": message, "color": color });
    let rendered = Rendered::new("application/json", CACHING, shield.to_string());
    Ok(Fresh { rendered, good_for: Duration::from_secs(3600) })
}

/// Its level alone.
pub(super) async fn level(site: &Site, recipe: String) -> Result<Fresh, Wrong> {
    let latest = site.store.read(move |db| pages::latest_of_recipe(db, &recipe, 20)).await?;
    let svg = match latest.iter().find_map(|brief| brief.level) {
        Some(level @ ..=0) => svg("cc-ci level", &format!("{level} of 6"), RED),
        Some(level @ 1..=3) => svg("cc-ci level", &format!("{level} of 6"), OCHRE),
        Some(level) => svg("cc-ci level", &format!("{level} of 6"), GREEN),
        None => svg("cc-ci level", "none yet", GREY),
    };
    Ok(fresh(svg))
}

fn fresh(svg: String) -> Fresh {
    Fresh { rendered: Rendered::new("image/svg+xml", CACHING, svg), good_for: Duration::from_secs(3600) }
}

/// The last word on the recipe itself; trouble of the machine is none.
fn last_word(latest: &[Brief]) -> (String, &'static str) {
    let level = latest.iter().find_map(|brief| brief.level);
    let last = latest.iter().find_map(|brief| match brief.outcome {
        Some(Outcome::Passed) => Some(("passed", GREEN)),
        Some(Outcome::Failed) => Some(("failed", RED)),
        Some(Outcome::TimedOut) => Some(("timed out", RED)),
        _ => None,
    });
    match (last, level) {
        (Some((word, colour)), Some(level)) => (format!("{word}, level {level}"), colour),
        (Some((word, colour)), None) => (word.to_owned(), colour),
        (None, _) => ("not tested yet".to_owned(), GREY),
    }
}

/// Both texts are ours.
fn svg(left: &str, right: &str, colour: &str) -> String {
    let (left_width, right_width) = (width(left) + 12, width(right) + 12);
    let whole = left_width + right_width;
    let mut svg = String::with_capacity(900);
    let _ = write!(
        svg,
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{whole}" height="20" role="img" aria-label="{left}: {right}"><title>{left}: {right}</title><clipPath id="r"><rect width="{whole}" height="20" rx="3"/></clipPath><g clip-path="url(#r)"><path fill="#30343b" d="M0 0h{left_width}v20H0z"/><path fill="{colour}" d="M{left_width} 0h{right_width}v20H{left_width}z"/></g><g fill="#fff" font-family="Verdana,DejaVu Sans,Geneva,sans-serif" font-size="11"><text x="6" y="14" textLength="{}">{left}</text><text x="{}" y="14" textLength="{}">{right}</text></g></svg>"##,
        left_width - 12,
        left_width + 6,
        right_width - 12,
    );
    svg
}

/// Of 11 px Verdana, near enough; `textLength` makes it exact.
fn width(text: &str) -> usize {
    let tenths: usize = text
        .chars()
        .map(|letter| match letter {
            'i' | 'l' | '.' | ',' => 32,
            't' | 'f' | '-' | 'r' | ' ' => 43,
            'm' | 'w' => 100,
            _ => 68,
        })
        .sum();
    tenths.div_ceil(10)
}

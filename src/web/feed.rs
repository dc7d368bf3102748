//! Verdicts as an Atom feed, for readers that people have already: of all recipes, and of one.

use std::fmt::Write as _;
use std::time::Duration;

use maud::Render;

use super::answer::{Rendered, Wrong};
use super::outside::Outside;
use super::{Fresh, Site, links, words};
use crate::clock::Time;
use crate::store::pages::{self, Listed};
use crate::store::runs::Filter;

/// Runs looked at; those that are over become entries.
const ROWS: u32 = 60;

pub(super) async fn load(site: &Site, recipe: Option<String>) -> Result<Fresh, Wrong> {
    let filter = Filter { recipe: recipe.clone(), ..Filter::default() };
    let runs = site.store.read(move |db| pages::list(db, &filter, None, ROWS)).await?;
    if let (Some(asked), true) = (&recipe, runs.is_empty()) {
        return Err(Wrong::NoRecipe { asked: asked.clone() });
    }
    let feed = atom(&site.address, recipe.as_deref(), &runs);
    let rendered = Rendered::new("application/atom+xml; charset=utf-8", "public, max-age=60", feed);
    Ok(Fresh { rendered, good_for: Duration::from_secs(3600) })
}

fn atom(address: &str, recipe: Option<&str>, runs: &[Listed]) -> String {
    let page = recipe.map_or_else(|| "/".to_owned(), links::recipe);
    let own = recipe.map_or_else(|| "/feed.atom".to_owned(), |recipe| format!("{}/feed.atom", links::recipe(recipe)));
    let title = recipe.map_or_else(|| "cc-ci".to_owned(), |recipe| format!("cc-ci: {recipe}"));
    let newest = runs.iter().filter_map(|run| run.finished_at).max().unwrap_or(Time(0));
    let mut feed =
        String::from("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<feed xmlns=\"http://www.w3.org/2005/Atom\">\n");
    let _ = write!(
        feed,
        "<id>{0}{own}</id>\n<title>{1}</title>\n<updated>{2}</updated>\n<author><name>cc-ci</name></author>\n\
         <link rel=\"self\" href=\"{0}{own}\"/>\n<link href=\"{0}{page}\"/>\n",
        text(address),
        text(&title),
        newest.rfc3339_seconds(),
    );
    for run in runs {
        let Some(finished) = run.finished_at else { continue };
        let link = format!("{}{}", text(address), links::run(run.id));
        let pr = run.pr.map(|pr| format!(" #{pr}")).unwrap_or_default();
        let word = words::standing(run.outcome, true).word;
        let _ = write!(
            feed,
            "<entry>\n<id>{link}</id>\n<title>{}</title>\n<updated>{}</updated>\n<link href=\"{link}\"/>\n\
             <summary>{}</summary>\n</entry>\n",
            text(&format!("{}{pr} {word}", run.recipe)),
            finished.rfc3339_seconds(),
            text(run.reason.as_deref().filter(|reason| !reason.is_empty()).unwrap_or(word)),
        );
    }
    feed.push_str("</feed>\n");
    feed
}

/// Escaped, without what XML cannot hold.
fn text(words: &str) -> String {
    Outside(words).render().into_string()
}

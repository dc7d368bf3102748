//! Comments as a forge shows them: Markdown with tables, and of HTML only what folds.

use pulldown_cmark::{CowStr, Event, Options, Parser, Tag, html};

/// The tags that comments may bring along, letter by letter.
const ALLOWED: [&str; 8] =
    ["<details>", "<details open>", "</details>", "<summary>", "</summary>", "<code>", "</code>", "<br>"];

/// Safe to put into a page.
pub(super) fn to_html(text: &str) -> String {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    let events = Parser::new_ext(text, options).flat_map(|event| match event {
        Event::Html(raw) | Event::InlineHtml(raw) => sift(&raw),
        Event::SoftBreak => vec![Event::HardBreak],
        Event::Start(Tag::Link { link_type, dest_url, title, id }) => {
            vec![Event::Start(Tag::Link { link_type, dest_url: harmless(dest_url), title, id })]
        }
        Event::Start(Tag::Image { link_type, dest_url, title, id }) => {
            vec![Event::Start(Tag::Image { link_type, dest_url: harmless(dest_url), title, id })]
        }
        other => vec![other],
    });
    let mut out = String::new();
    html::push_html(&mut out, events);
    out
}

/// Lets the allowed tags through and shows the others as text.
fn sift(raw: &str) -> Vec<Event<'static>> {
    let mut events = Vec::new();
    let mut rest = raw;
    while !rest.is_empty() {
        if let Some(tag) = ALLOWED.iter().find(|tag| rest.starts_with(**tag)) {
            events.push(Event::InlineHtml(CowStr::Borrowed(tag)));
            rest = &rest[tag.len()..];
            continue;
        }
        let end = rest.char_indices().skip(1).find(|(_, c)| *c == '<').map_or(rest.len(), |(at, _)| at);
        events.push(Event::Text(rest[..end].to_owned().into()));
        rest = &rest[end..];
    }
    events
}

fn harmless(url: CowStr<'_>) -> CowStr<'_> {
    let scheme = url.split_once(':').map(|(scheme, _)| scheme.to_ascii_lowercase());
    match scheme.as_deref() {
        None | Some("http" | "https" | "mailto") => url,
        Some(_) => CowStr::Borrowed("#"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_folds_folds_and_the_rest_is_text() {
        let html =
            to_html("<details><summary>Last lines</summary>\n\n```\n<b>log</b>\n```\n\n</details>\n<script>x</script>");
        assert!(html.contains("<details><summary>Last lines</summary>"), "{html}");
        assert!(html.contains("&lt;b&gt;log&lt;/b&gt;") && html.contains("&lt;script&gt;"), "{html}");
        assert!(to_html("| a | b |\n|---|---|\n| 1 | 2 |").contains("<td>2</td>"));
        assert!(!to_html("[x](javascript:alert(1)) ![y](JAVASCRIPT:z)").to_lowercase().contains("javascript"));
    }

    proptest! {
        #[test]
        fn no_text_brings_a_tag_of_its_own(text in "[<>a-z \"'/=\\n*_`|-]{0,60}") {
            let html = to_html(&format!("{text}<script src=x></script><img onerror=x>"));
            prop_assert!(!html.contains("<script") && !html.contains("<img onerror"), "{}", html);
        }
    }
}

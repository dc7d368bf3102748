//! Text from outside inside Markdown of ours.
//!
//! Nobody is mentioned by it, nothing links, no pull request is referred to, and no tag of HTML survives. A forge looks for
//! mentions and references in the text *after* the Markdown was read, so escaping alone is not enough: a zero-width space
//! stands where one could begin.

use std::fmt::Write as _;

const NOTHING: char = '\u{200b}';

/// Looks like a bar.
const BAR: &str = "\u{2502}";

/// Text in a paragraph or a table's cell, on one line.
pub fn text(outside: &str) -> String {
    let flat = flat(outside);
    let mut safe = String::with_capacity(flat.len() + 16);
    let mut letters = flat.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '~' | '&' | '$' => {
                safe.push('\\');
                safe.push(letter);
            }
            '@' => safe.extend([letter, NOTHING]),
            // At the beginning of a line these, and `1.` below, are structure.
            '#' | '+' | '-' | '=' | ':' if safe.is_empty() => safe.extend(['\\', letter, NOTHING]),
            // At the beginning of a line this could be a command.
            '!' if safe.is_empty() => safe.extend([letter, NOTHING]),
            // `#12`, `!12` refer to a pull request.
            '#' | '!' if letters.peek().is_some_and(char::is_ascii_digit) => safe.extend([letter, NOTHING]),
            ':' if letters.peek() == Some(&'/') => safe.extend([letter, NOTHING]),
            '.' | ')' if safe.bytes().all(|byte| byte.is_ascii_digit()) => safe.extend(['\\', letter]),
            '.' if safe.ends_with("www") || safe.ends_with("WWW") => safe.extend([NOTHING, letter]),
            _ => safe.push(letter),
        }
    }
    safe
}

/// A name, a version, a commit: as code, in which nothing means anything.
pub fn code(outside: &str) -> String {
    let flat = flat(outside);
    let fence = "`".repeat(longest_run(&flat, '`') + 1);
    // In a table's cell a bar ends the cell even in code, and forges do not agree on how to escape it there.
    let inside = flat.replace('|', BAR);
    let gap = if flat.starts_with('`') || flat.ends_with('`') || flat.is_empty() { " " } else { "" };
    format!("{fence}{gap}{inside}{gap}{fence}")
}

/// Lines as they were printed, in a fence that none of them can close.
pub fn fenced(lines: &[String]) -> String {
    let lines: Vec<String> = lines.iter().map(|line| printed(line)).collect();
    let longest = lines.iter().map(|line| longest_run(line, '`')).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    let mut block = format!("{fence}text\n");
    for line in &lines {
        let _ = writeln!(block, "{line}");
    }
    block + &fence
}

/// At most `most` characters, cut with a sign that it was.
pub fn short(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(most.saturating_sub(1)).collect();
    short.truncate(short.trim_end().len());
    short.push('…');
    short
}

/// One line without control characters and without what turns text around.
pub fn flat(outside: &str) -> String {
    let visible = outside
        .chars()
        .map(|letter| if letter.is_control() || letter == '\u{2028}' || letter == '\u{2029}' { ' ' } else { letter });
    let kept: String = visible.filter(|letter| !is_hidden(*letter)).collect();
    kept.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn printed(line: &str) -> String {
    let tabs = line.replace('\t', "    ");
    let letters = tabs.chars().filter(|letter| !letter.is_control() && !is_hidden(*letter));
    short(letters.collect::<String>().trim_end(), 400)
}

fn is_hidden(letter: char) -> bool {
    matches!(letter, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

fn longest_run(text: &str, letter: char) -> usize {
    text.split(|other| other != letter).map(str::len).max().unwrap_or(0) / letter.len_utf8()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

    use super::*;

    fn events(markdown: &str) -> Vec<Event<'_>> {
        Parser::new_ext(markdown, Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_GFM)
            .collect()
    }

    #[test]
    fn nobody_is_mentioned_and_nothing_links() {
        let safe = text("ask @admin, see #12, !7, https://evil.example, www.evil.example and <img src=x> [a](b)");
        for alive in ["@admin", "#12", "!7", "https://", "www.", "<img", "[a]"] {
            assert!(!safe.replace("\\<", "").replace("\\[", "").contains(alive), "{alive} in {safe}");
        }
    }

    #[test]
    fn a_fence_is_longer_than_what_is_in_it() {
        let block = fenced(&["````".into(), "a\rb\u{1b}[31m".into(), "</details>".into()]);
        assert!(block.starts_with("`````text\n") && block.ends_with("\n`````"), "{block}");
        assert!(block.contains("ab[31m"), "{block}");
    }

    #[test]
    fn a_cut_shows() {
        assert_eq!(short("abc", 3), "abc");
        assert_eq!(short("ab cd", 4), "ab…");
    }

    proptest! {
        #[test]
        fn text_stays_text(outside in "(\\PC|[`*_<>\\[\\]()!@#|~&$:/.\\\\ \n\t\r0-9+=-]){0,60}") {
            let safe = text(&outside);
            let mut read = String::new();
            for event in events(&safe) {
                match event {
                    Event::Text(part) => read.push_str(&part),
                    Event::Start(Tag::Paragraph) | Event::End(TagEnd::Paragraph) => {}
                    other => prop_assert!(false, "{other:?} came of {outside:?} as {safe:?}"),
                }
            }
            prop_assert_eq!(read.replace(NOTHING, ""), flat(&outside));
        }

        #[test]
        fn code_stays_code(outside in "(\\PC|[`|\\\\ \n]){0,40}") {
            let safe = code(&outside);
            let row = format!("| a |\n|---|\n| {safe} |");
            let cells: Vec<String> = events(&row)
                .into_iter()
                .filter_map(|event| if let Event::Code(code) = event { Some(code.into_string()) } else { None })
                .collect();
            prop_assert_eq!(cells.len(), 1, "{}", row);
            prop_assert_eq!(cells[0].trim(), flat(&outside).replace('|', BAR));
        }

        #[test]
        fn a_block_holds_its_lines(lines in proptest::collection::vec("(\\PC|[`~<>\r\n\t]){0,30}", 0..8)) {
            let block = format!("before\n\n{}\n\nafter", fenced(&lines));
            let fences = events(&block)
                .into_iter()
                .filter(|event| matches!(event, Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(_)))))
                .count();
            prop_assert_eq!(fences, 1);
            let last = block.rsplit("\n\n").next();
            prop_assert_eq!(last, Some("after"));
            let paragraphs = events(&block).into_iter().filter(|event| matches!(event, Event::Start(Tag::Paragraph)));
            prop_assert_eq!(paragraphs.count(), 2);
        }
    }
}

//! The grammar: which words in a comment are a command.
//!
//! A comment is read as the Markdown it is. A command is `!testme` as the first word of a line of plain text in a paragraph:
//! what is quoted, code, a heading, a list item, a table, a link or HTML is about commands, not one, and so is what begins with
//! an escape (`\!testme`), which is how one writes a command to be seen. The words after it come from a closed set; anything
//! else gets one helpful answer.

use std::fmt;

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use crate::model::{Asked, VersionName};

/// The word everything begins with.
pub const WORD: &str = "!testme";

/// As much of a comment is read; whoever writes more does not ask for something at its end.
pub(super) const READ: usize = 64 << 10;

/// What somebody asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Test(Test),
    Help,
    Status,
    Cancel,
    /// `!testme` and then words that mean nothing here.
    Unknown(String),
}

/// A test of the pull request's head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Test {
    pub asked: Asked,
    /// The version to upgrade from, where the usual one is not wanted.
    pub from: Option<VersionName>,
    /// Even though this head passed already.
    pub again: bool,
}

impl Command {
    /// The first command of a comment, if it holds one.
    pub fn find(comment: &str) -> Option<Command> {
        let text = &comment[..comment.floor_char_boundary(READ)];
        if !text.contains(WORD) {
            return None;
        }
        lines_of_plain_text(text).iter().find_map(|line| Command::read(line))
    }

    /// Reads one line; also what [`fmt::Display`] wrote.
    pub fn read(line: &str) -> Option<Command> {
        let mut words = line.split_whitespace();
        if words.next() != Some(WORD) {
            return None;
        }
        let words: Vec<&str> = words.collect();
        Some(match words.as_slice() {
            ["help"] => Command::Help,
            ["status"] => Command::Status,
            ["cancel"] => Command::Cancel,
            words => Test::read(words).map_or_else(|| Command::Unknown(tame(words)), Command::Test),
        })
    }
}

impl Test {
    fn read(words: &[&str]) -> Option<Test> {
        let (mut asked, mut from, mut again) = (None, None, false);
        for &word in words {
            if word == "again" && !again {
                again = true;
            } else if let Some(version) = word.strip_prefix("from=")
                && from.is_none()
            {
                from = Some(version.parse().ok()?);
            } else if asked.is_none() && word != Asked::All.as_str() {
                asked = Some(word.parse().ok()?);
            } else {
                return None;
            }
        }
        let asked = asked.unwrap_or(Asked::All);
        (from.is_none() || asked.upgrades()).then_some(Test { asked, from, again })
    }
}

/// As it is stored, shown and read again.
impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(WORD)?;
        match self {
            Command::Test(Test { asked, from, again }) => {
                if *asked != Asked::All {
                    write!(f, " {asked}")?;
                }
                if let Some(version) = from {
                    write!(f, " from={}", version.as_str())?;
                }
                if *again { f.write_str(" again") } else { Ok(()) }
            }
            Command::Help => f.write_str(" help"),
            Command::Status => f.write_str(" status"),
            Command::Cancel => f.write_str(" cancel"),
            Command::Unknown(words) => write!(f, " {words}"),
        }
    }
}

/// What each command does, for `!testme help`.
pub fn help() -> String {
    // The compiler complains here when a command or a stage is added; give it a line below.
    let _ = |command: Command| match command {
        Command::Test(Test { asked, from: _, again: _ }) => match asked {
            Asked::All | Asked::Install | Asked::Upgrade | Asked::Backup | Asked::Checks => (),
        },
        Command::Help | Command::Status | Command::Cancel | Command::Unknown(_) => (),
    };
    "\
| write | and this happens |
|---|---|
| `!testme` | the head of this pull request is deployed and tested: everything that applies |
| `!testme install` | only the installation |
| `!testme checks` | only the checks, the recipe's own among them, on an installation of their own |
| `!testme backup` | only backup and restore, on an installation of its own |
| `!testme upgrade` | only the upgrade from what is published |
| `!testme from=VERSION` | everything, with the upgrade from that version; `!testme upgrade from=VERSION` is the upgrade alone |
| `!testme again` | a new test though this head passed already; `!testme install again` works too |
| `!testme status` | says what waits, runs and ran here |
| `!testme cancel` | ends what waits and runs here; what was deployed is removed |
| `!testme help` | this text |

It is the first word of a line of its own; the first such line of a comment counts. In quotes, code, headings, lists and links \
it is only talked about, and an edited comment is never a request."
        .to_owned()
}

/// Unknown words, short and harmless, and never by accident a command.
fn tame(words: &[&str]) -> String {
    let mut tame = String::new();
    for word in words {
        let gap = if tame.is_empty() { "" } else { " " };
        if tame.chars().count() + word.chars().count() > 60 {
            let room = 60_usize.saturating_sub(tame.chars().count());
            tame.extend(gap.chars().chain(word.chars().take(room).map(harmless)).chain(['…']));
            break;
        }
        tame.extend(gap.chars().chain(word.chars().map(harmless)));
    }
    tame
}

fn harmless(letter: char) -> char {
    if letter.is_control() || letter == NOT_PLAIN { '…' } else { letter }
}

/// Stands in a line for what is not plain text: code, a link, emphasis, HTML.
const NOT_PLAIN: char = '\u{fffc}';

/// The lines of all paragraphs that stand by themselves.
fn lines_of_plain_text(markdown: &str) -> Vec<String> {
    let options = Options::ENABLE_TABLES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_TASKLISTS
        | Options::ENABLE_FOOTNOTES
        | Options::ENABLE_GFM;
    let mut lines = Vec::new();
    let mut depth = 0_usize;
    let mut paragraph: Option<Paragraph> = None;
    for (event, at) in Parser::new_ext(markdown, options).into_offset_iter() {
        match event {
            Event::Start(Tag::Paragraph) if depth == 0 => {
                depth += 1;
                paragraph = Some(Paragraph::default());
            }
            Event::Start(_) => {
                depth += 1;
                if let Some(paragraph) = &mut paragraph {
                    paragraph.line.push(NOT_PLAIN);
                }
            }
            Event::End(TagEnd::Paragraph) if depth == 1 => {
                depth = 0;
                lines.extend(paragraph.take().map(Paragraph::end).unwrap_or_default());
            }
            Event::End(_) => depth = depth.saturating_sub(1),
            other => {
                if let Some(paragraph) = &mut paragraph {
                    let as_written = matches!(&other, Event::Text(text) if **text == markdown[at.clone()]);
                    let escaped = !as_written || markdown[..at.start].ends_with('\\');
                    paragraph.take_in(&other, depth == 1, escaped);
                }
            }
        }
    }
    lines
}

#[derive(Default)]
struct Paragraph {
    lines: Vec<String>,
    line: String,
    /// Once there is HTML in a paragraph, who knows what the rest of it is inside of.
    html: bool,
}

impl Paragraph {
    fn take_in(&mut self, event: &Event<'_>, plain: bool, escaped: bool) {
        match event {
            Event::Text(text) if plain => {
                if escaped && self.line.trim().is_empty() {
                    self.line.push(NOT_PLAIN);
                }
                self.line.push_str(text);
            }
            Event::SoftBreak | Event::HardBreak => {
                let line = std::mem::take(&mut self.line);
                self.lines.push(line);
                if self.html || !plain {
                    self.line.push(NOT_PLAIN);
                }
            }
            Event::InlineHtml(_) | Event::Html(_) => {
                self.html = true;
                self.line.push(NOT_PLAIN);
            }
            _ => self.line.push(NOT_PLAIN),
        }
    }

    fn end(mut self) -> Vec<String> {
        self.lines.push(self.line);
        self.lines
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn said(comment: &str) -> Option<String> {
        Command::find(comment).map(|command| command.to_string())
    }

    fn test(asked: Asked) -> Command {
        Command::Test(Test { asked, from: None, again: false })
    }

    #[test]
    fn the_first_word_of_a_line_of_plain_text_is_a_command() {
        for (comment, command) in [
            ("!testme", test(Asked::All)),
            ("  !testme  ", test(Asked::All)),
            ("!testme install", test(Asked::Install)),
            ("!testme\tupgrade\r\n", test(Asked::Upgrade)),
            ("Thank you!\n!testme backup", test(Asked::Backup)),
            ("Thank you!\n\n!testme checks\n\nBye", test(Asked::Checks)),
            ("> !testme install\n\n!testme upgrade", test(Asked::Upgrade)),
            ("```\n!testme install\n```\n!testme", test(Asked::All)),
            ("a backslash ends this line\\\n!testme", test(Asked::All)),
            ("!testme help", Command::Help),
            ("!testme status", Command::Status),
            ("!testme cancel", Command::Cancel),
            ("!testme install\n!testme upgrade", test(Asked::Install)),
        ] {
            assert_eq!(Command::find(comment), Some(command), "{comment:?}");
        }
    }

    #[test]
    fn again_and_from_go_with_what_they_make_sense_with() {
        assert_eq!(said("!testme again").as_deref(), Some("!testme again"));
        assert_eq!(said("!testme again upgrade").as_deref(), Some("!testme upgrade again"));
        assert_eq!(
            Command::find("!testme upgrade from=1.3.2+25.0.6 again"),
            Some(Command::Test(Test { asked: Asked::Upgrade, from: "1.3.2+25.0.6".parse().ok(), again: true }))
        );
        assert!(matches!(Command::find("!testme from=1.3.2"), Some(Command::Test(Test { asked: Asked::All, .. }))));
        for wrong in [
            "!testme install from=1.0.0",
            "!testme upgrade from=",
            "!testme upgrade from=-rf",
            "!testme upgrade from=$(id)",
            "!testme upgrade from=1 from=2",
            "!testme upgrade install",
            "!testme again again",
            "!testme all",
            "!testme help me",
        ] {
            assert!(matches!(Command::find(wrong), Some(Command::Unknown(_))), "{wrong}");
        }
    }

    #[test]
    fn what_only_talks_about_a_command_is_none() {
        for prose in [
            "",
            "!testmexyz",
            "!testme, please",
            "!Testme",
            "please !testme",
            "`!testme`",
            "``!testme``",
            "```\n!testme\n```",
            "```sh\n!testme",
            "~~~\n!testme\n~~~",
            "    !testme",
            "\t!testme",
            "> !testme",
            "> quoted\n!testme",
            "# !testme",
            "!testme\n---",
            "!testme\n===",
            "- !testme",
            "- one\n\n  !testme",
            "1. !testme",
            "- [ ] !testme",
            "[!testme](https://example.org)",
            "![!testme](x.png)",
            "*!testme*",
            "**!testme**",
            "~~!testme~~",
            "<b>!testme</b>",
            "<b>\n!testme\n</b>",
            "text <sub>\n!testme\n</sub>",
            "<!-- !testme -->",
            "<!--\n!testme\n-->",
            "<pre>\n!testme\n</pre>",
            "!testme | a\n---|---\n!testme | b",
            "see [^1]\n\n[^1]: !testme",
            "*spread\n!testme\nover lines*",
            "\\!testme",
            "write this:\n  \\!testme install",
            "&#33;testme",
            "&excl;testme",
            "\\\\!testme",
        ] {
            assert_eq!(Command::find(prose), None, "{prose:?}");
        }
    }

    #[test]
    fn unknown_words_are_kept_short_and_harmless() {
        assert_eq!(said("!testme please").as_deref(), Some("!testme please"));
        assert!(matches!(Command::find("!testme `upgrade`"), Some(Command::Unknown(words)) if words == "…"));
        let long = format!("!testme {}", "very ".repeat(100));
        let Some(Command::Unknown(words)) = Command::find(&long) else { panic!("a very unknown word") };
        assert!(words.chars().count() <= 62 && words.ends_with('…'), "{words}");
        assert_eq!(said("!testme \u{1b}[31m").as_deref(), Some("!testme …[31m"));
    }

    #[test]
    fn of_ten_megabytes_only_the_beginning_is_read() {
        let mut comment = "word ".repeat(2 << 20);
        comment.push_str("\n\n!testme");
        assert_eq!(Command::find(&comment), None);
        assert_eq!(said(&format!("!testme\n\n{comment}")).as_deref(), Some("!testme"));
        // A letter of three bytes lies across the cut.
        assert_eq!(said(&format!("!testme\n\n{}", "€".repeat(READ))).as_deref(), Some("!testme"));
        assert_eq!(Command::find(&format!("{}!testme", "> ".repeat(READ / 4))), None);
    }

    #[test]
    fn help_has_a_line_for_every_command() {
        let help = help();
        for asked in Asked::ALL.iter().filter(|asked| **asked != Asked::All) {
            assert!(help.contains(&format!("`!testme {asked}`")), "{asked}");
        }
        for word in ["`!testme`", "from=VERSION", "again", "status", "cancel", "help"] {
            assert!(help.contains(word), "{word}");
        }
        assert_eq!(Command::find(&help), None, "the help text is no command");
    }

    proptest! {
        #[test]
        fn no_comment_makes_it_panic(comment in "(\\PC|[\n\r\t >`#*_<\\[\\]()!|-]|!testme ?){0,60}") {
            let _ = Command::find(&comment);
        }

        #[test]
        fn what_is_shown_is_read_back(words in "[a-z=. \u{0}-\u{ff}]{0,100}", tail in "(again| |upgrade|from=1){0,12}") {
            let Some(command) = Command::read(&format!("!testme {words}{tail}")) else { return Ok(()) };
            prop_assert_eq!(Command::read(&command.to_string()), Some(command));
        }

        #[test]
        fn code_never_fires(
            before in "[a-z ]{0,20}", inside in "[a-z!\n ]{0,40}", after in "[a-z! \n]{0,20}", fence in "`{3,6}|~{3,6}"
        ) {
            let comment = format!("{before}\n\n{fence}\n{inside}\n!testme\n{after}\n{fence}\n");
            prop_assert_eq!(Command::find(&comment), None);
        }

        #[test]
        fn quotes_never_fire(lines in proptest::collection::vec("[a-z!*_ ]{0,20}(!testme [a-z]{0,9})?", 1..12)) {
            let quoted = format!("> {}\n", lines.join("\n> "));
            prop_assert_eq!(Command::find(&quoted), None);
        }
    }
}

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use proptest::prelude::*;
use serde::Deserialize;

use super::*;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct House {
    organisation: String,
    #[serde(default)]
    rooms: u8,
    #[serde(default)]
    poll: Option<Poll>,
    #[serde(default)]
    verdict: Verdict,
    #[serde(default)]
    env: BTreeMap<String, String>,
    #[serde(default)]
    list: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Poll {
    #[serde(with = "crate::config::span")]
    interval: Duration,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    #[default]
    Replace,
    Edit,
}

fn wrong(text: &str) -> String {
    from_str::<House>("config.yaml", text).unwrap_err().to_string()
}

#[test]
fn an_unknown_key_names_its_place_and_the_nearest_one() {
    assert_eq!(
        wrong("\n\norganization: x\n"),
        "config.yaml:3:1: unknown key `organization`; did you mean `organisation`?"
    );
    assert_eq!(wrong("zzz: x\n"), "config.yaml:1:1: unknown key `zzz`");
    assert_eq!(
        wrong("organisation: x\npoll:\n  intervall: 3s\n"),
        "config.yaml:3:3: unknown key `intervall`; did you mean `interval`?"
    );
}

#[test]
fn a_wrong_type_is_said_in_plain_words() {
    assert_eq!(wrong("organisation: [a]\n"), "config.yaml:1:15: `organisation` needs text, not a list");
    assert_eq!(
        wrong("organisation: a\nrooms: many\n"),
        "config.yaml:2:8: `rooms` needs a whole number from 0 to 255, not text `many`"
    );
    assert_eq!(
        wrong("organisation: a\nrooms: 300\n"),
        "config.yaml:2:8: `rooms` needs a whole number from 0 to 255, not `300`"
    );
    assert_eq!(wrong("organisation: a\nlist: x\n"), "config.yaml:2:7: `list` needs a list, not text `x`");
    assert_eq!(wrong("- a\n"), "config.yaml:1:1: needs a mapping of keys, not a list");
    assert_eq!(
        wrong("organisation: a\nverdict: edti\n"),
        "config.yaml:2:10: `verdict` needs `replace` or `edit`, not `edti`; did you mean `edit`?"
    );
    assert_eq!(wrong("rooms: 2\n"), "config.yaml:1:1: the key `organisation` is missing here");
}

#[test]
fn what_a_type_says_of_itself_comes_with_its_place() {
    assert_eq!(
        wrong("organisation: a\npoll:\n  interval: 15\n"),
        "config.yaml:3:13: `interval`: needs a unit: `15s`, `15m` or `15h`, not `15`"
    );
}

#[test]
fn a_good_file_is_read() {
    let house: House = from_str(
        "config.yaml",
        "organisation: recipes\nrooms: 0x10\npoll: {interval: 1h30m}\nverdict: edit\nenv: {A: 1.10, B: true, C: yes, D: \"\"}\nlist:\n",
    )
    .unwrap();
    assert_eq!(house.organisation, "recipes");
    assert_eq!(house.rooms, 16);
    assert_eq!(house.poll.unwrap().interval, Duration::from_secs(5400));
    assert_eq!(house.verdict, Verdict::Edit);
    let env: Vec<_> = house.env.values().map(String::as_str).collect();
    assert_eq!(env, ["1.10", "true", "yes", ""]);
    assert!(house.list.is_empty());
}

#[test]
fn words_of_yaml_one_one_stay_words_and_numbers_keep_their_text() {
    let node = parse("x", "[yes, no, on, off, n, 0444, 1.0, 1e3, ~, '5', 12:30, 2001-01-01]").unwrap();
    let items = node.as_seq().unwrap();
    for item in &items[..5] {
        assert!(item.as_str().is_some() && item.plain, "{item:?}");
    }
    assert_eq!(items[5].value, Value::Int("0444".into()));
    assert_eq!(items[6].value, Value::Float("1.0".into()));
    assert_eq!(items[7].value, Value::Float("1e3".into()));
    assert_eq!(items[8].value, Value::Null);
    assert!(items[9].as_str() == Some("5") && !items[9].plain);
    assert_eq!(items[10].as_str(), Some("12:30"));
    assert_eq!(items[11].as_str(), Some("2001-01-01"));
}

#[test]
fn every_value_knows_where_it_stands() {
    let node = parse("x", "services:\n  app:\n    image: nginx\n    ports:\n      - 80\n").unwrap();
    let image = node.at(&["services", "app", "image"]).unwrap();
    assert_eq!(image.span, Span { line: 3, column: 12, source: 0 });
    let ports = node.at(&["services", "app", "ports"]).unwrap();
    assert_eq!(ports.as_seq().unwrap()[0].span, Span { line: 5, column: 9, source: 0 });
    assert_eq!(node.as_map().unwrap()[0].0.span, Span { line: 1, column: 1, source: 0 });
}

#[test]
fn a_key_stands_once() {
    let error = parse("c.yml", "a: 1\nb: 2\na: 3\n").unwrap_err().to_string();
    assert_eq!(error, "c.yml:3:1: the key `a` stands here twice; it is in line 1 already");
    assert!(parse("c.yml", "1: a\n\"1\": b\n").is_err());
}

#[test]
fn merges_give_way_to_what_is_written() {
    let node = parse(
        "x",
        "base: &b {one: 1, two: 2}\nother: &o {two: 9, three: 3}\nuse:\n  <<: [*b, *o]\n  one: own\nlist: [*b]\n",
    )
    .unwrap();
    let used = node.get("use").unwrap();
    assert_eq!(used.get("one").unwrap().as_str(), Some("own"));
    assert_eq!(used.get("two").unwrap().scalar(), Some("2"));
    assert_eq!(used.get("three").unwrap().scalar(), Some("3"));
    assert_eq!(used.as_map().unwrap().len(), 3);
    assert!(parse("x", "a:\n  <<: 5\n").unwrap_err().to_string().contains("`<<` merges a mapping"));
}

#[test]
fn a_bomb_of_aliases_is_counted_before_it_goes_off() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let below = format!("*a{}", level - 1);
        let _ = writeln!(text, "a{level}: &a{level} [{}]", [below.as_str(); 10].join(", "));
    }
    let error = parse("bomb.yml", &text).unwrap_err().to_string();
    assert!(error.contains("holds more than 200000 values"), "{error}");

    let mut text = format!("a: &a {}\nb:\n", "x".repeat(500_000));
    text.push_str(&"  - *a\n".repeat(1000));
    let error = parse("bomb.yml", &text).unwrap_err().to_string();
    assert!(error.contains("bytes once aliases are written out"), "{error}");

    let (mut text, mut tail) = (String::new(), String::new());
    for level in 0..120 {
        let _ = write!(text, "&n{level} [");
        tail.push(']');
    }
    let text = format!("{text}{}{tail}", "x, ".repeat(50_000));
    let error = parse("bomb.yml", &text).unwrap_err().to_string();
    assert!(error.contains("holds more than 200000 values"), "{error}");

    let error = parse("bomb.yml", "a: &a [*a]\n").unwrap_err().to_string();
    assert!(error.contains("inside of what it names") || error.contains("is not YAML"), "{error}");
}

#[test]
fn depth_is_bounded_also_through_aliases() {
    let error = parse("deep.yml", &"[".repeat(5000)).unwrap_err().to_string();
    assert!(error.contains("nested more than 128 deep") || error.contains("is not YAML"), "{error}");
    assert!(parse("deep.yml", &"- ".repeat(129)).unwrap_err().to_string().contains("nested more than 128 deep"));
    let mut text = format!("a0: &a0 {}x{}\n", "[".repeat(60), "]".repeat(60));
    let _ = writeln!(text, "a1: &a1 {}*a0{}", "[".repeat(60), "]".repeat(60));
    let _ = writeln!(text, "a2: {}*a1{}", "[".repeat(60), "]".repeat(60));
    assert!(parse("deep.yml", &text).unwrap_err().to_string().contains("nested more than 128 deep"));
}

#[test]
fn size_is_bounded() {
    let error = parse("big.yml", &format!("a: {}", "x".repeat(2 << 20))).unwrap_err().to_string();
    assert!(error.contains("at most 1048576 are read"), "{error}");
    assert!(parse("big.yml", &format!("a: {}", "x".repeat(1_000_000))).is_ok());
}

#[test]
fn a_tab_is_named() {
    for text in ["a:\n\tb: 1\n", "a:\n  b:\n\t  c: 1\n"] {
        let error = parse("t.yml", text).unwrap_err().to_string();
        assert!(error.contains("a tab indents this line"), "{error}");
    }
}

#[test]
fn one_document_is_read_and_not_two() {
    let error = parse("d.yml", "---\na: 1\n---\nb: 2\n").unwrap_err().to_string();
    assert_eq!(error, "d.yml:3:1: a second document begins here; one is read, so remove this `---`");
    assert!(parse("d.yml", "---\na: 1\n...\n").is_ok());
    assert!(parse("d.yml", "").unwrap().is_null());
    assert!(parse("d.yml", "# nothing\n").unwrap().is_null());
    assert!(parse("d.yml", "\u{feff}a: 1\n").is_ok());
}

#[test]
fn keys_are_words_and_tags_are_known() {
    assert!(parse("k.yml", "? [a, b]\n: c\n").unwrap_err().to_string().contains("where a key should"));
    assert!(parse("k.yml", "a: &x [1]\n*x : 2\n").is_err());
    assert!(parse("k.yml", "a: !secret x\n").unwrap_err().to_string().contains("the tag `!secret`"));
    assert_eq!(parse("k.yml", "!!str 5").unwrap().as_str(), Some("5"));
    assert!(parse("k.yml", "a: [1, 2\n").unwrap_err().to_string().starts_with("k.yml:"));
}

fn tree() -> impl Strategy<Value = Node> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(|number| Value::Int(number.to_string())),
        "\\PC{0,12}".prop_map(Value::String),
        "[ -~\\n\\t\u{85}\u{2028}]{0,12}".prop_map(Value::String),
        prop_oneof![Just("yes"), Just("n"), Just("~"), Just("0444"), Just("1e3"), Just("- a"), Just("<<")]
            .prop_map(|word| Value::String(word.into())),
    ];
    let leaf = scalar.prop_map(|value| Node::new(value, Span::default()));
    leaf.prop_recursive(4, 40, 5, |inner| {
        let map = proptest::collection::btree_map("[ -~]{0,6}", inner.clone(), 0..5).prop_map(|entries| {
            let entries = entries.into_iter().map(|(key, value)| (Node::text(key, Span::default()), value));
            Value::Map(entries.collect())
        });
        let seq = proptest::collection::vec(inner, 0..5).prop_map(Value::Seq);
        prop_oneof![map, seq].prop_map(|value| Node::new(value, Span::default()))
    })
}

proptest! {
    #[test]
    fn what_is_rendered_reads_back(node in tree()) {
        let text = render(&node);
        let back = parse("t", &text);
        prop_assert!(back.is_ok(), "{:?}\n{}", back, text);
        prop_assert_eq!(back.unwrap(), node, "{}", text);
    }

    #[test]
    fn no_text_makes_it_panic(text in "[-:\\[\\]{}&*!|>'\"%@`#,? \\n\\ta-c0-9<]{0,60}") {
        let _ = parse("t", &text);
        let _ = from_str::<House>("t", &text);
    }
}

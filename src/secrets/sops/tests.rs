use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;

use super::keys::{Identity, recipient_of};
use super::*;
use crate::clock::Time;

const NOW: Time = Time(1_767_323_045_000);

fn host() -> Vec<Identity> {
    let name = "nix/tests/keys/host";
    Identity::parse(name, &std::fs::read_to_string(name).unwrap()).unwrap()
}

fn for_host() -> Creation {
    Creation { recipients: vec![recipient_of("nix/tests/keys/host.pub").unwrap()], ..Creation::default() }
}

fn sealed(clear: &str) -> String {
    Open::create("f.yaml", clear, &for_host(), NOW).unwrap()
}

fn open(text: &str) -> Result<Open, SopsError> {
    Locked::parse("f.yaml", text)?.open(&host())
}

fn clear(text: &str) -> String {
    open(text).unwrap().in_clear().unwrap().to_string()
}

/// The sealed text of a key.
fn token<'a>(text: &'a str, key: &str) -> &'a str {
    let line = text.lines().find(|line| line.trim_start().starts_with(&format!("{key}: "))).unwrap();
    line.split_once(": ").unwrap().1
}

#[test]
fn the_example_that_sops_made_opens_and_comes_back_byte_for_byte() {
    let text = std::fs::read_to_string("secrets/example.yaml").unwrap();
    let opened = open(&text).unwrap();
    assert!(opened.value("forge/token").unwrap().len() > 8);
    assert!(opened.value("wildcard/certificate").unwrap().starts_with(b"-----BEGIN CERTIFICATE-----\n"));
    let again = opened.with_text(&opened.in_clear().unwrap(), NOW).unwrap();
    let kept = |text: &str| {
        let changed = |line: &&str| !line.starts_with("    mac: ") && !line.starts_with("    lastmodified: ");
        text.lines().filter(changed).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(kept(&again), kept(&text));
    assert_eq!(open(&again).unwrap().in_clear().unwrap(), opened.in_clear().unwrap());
}

#[test]
fn no_bit_of_a_file_changes_a_value_unseen() {
    let text = sealed("# a note\ntoken: hunter2\nlist:\n    - one\n    - 8080\nopen_unencrypted: seen\n");
    let before = clear(&text);
    for at in 0..text.len() {
        let mut changed = text.clone().into_bytes();
        changed[at] ^= 1;
        let Ok(changed) = String::from_utf8(changed) else { continue };
        if let Ok(opened) = open(&changed) {
            // A comment, which no MAC covers, the name of a value that nothing seals, or a word about the file.
            let now = opened.in_clear().unwrap();
            let gone = before.lines().find(|line| line.contains(": ") && !now.contains(line));
            assert!(gone.is_none() || gone == Some("open_unencrypted: seen"), "byte {at}: {}", *now);
        }
    }
}

#[test]
fn what_was_done_to_a_file_is_told_without_its_values() {
    let text = sealed("token: hunter2\nother: hunter3\nnumber: 7\nplain_unencrypted: 1\n");
    let told = |text: &str| open(text).err().unwrap().to_string();
    let (token_, other) = (token(&text, "token"), token(&text, "other"));

    let swapped = text.replace(token_, "@").replace(other, token_).replace('@', other);
    assert!(told(&swapped).contains("`token` does not fit its seal"));
    assert!(told(&text.replace(token_, "hunter2")).contains("`token` stands there in clear"));
    assert!(told(&text.replace(token_, &token_[..40])).contains("`token` is not of the form"));
    assert!(
        told(&text.replace("plain_unencrypted: 1", "plain_unencrypted: 2")).contains("MAC is not that of its values")
    );
    assert!(told(&text.replace("sops:\n", "more_unencrypted: 1\nsops:\n")).contains("MAC is not that of its values"));
    let gone: String = text.split_inclusive('\n').filter(|line| !line.starts_with("number")).collect();
    assert!(told(&gone).contains("MAC is not that of its values"));
    let another = sealed("token: hunter2\n");
    assert!(told(&text.replace(token(&text, "mac"), token(&another, "mac"))).contains("another file"));
    assert!(told(&text.replace("2026-01-02T03:04:05Z", "2026-01-02T03:04:06Z")).contains("`lastmodified` was changed"));
    assert!(told("token: hunter2\n").contains("is not encrypted"));
    assert_eq!(Locked::parse("f.yaml", &text.replace(token_, "hunter2")).unwrap().in_clear(), ["token"]);

    let strangers = Locked::parse("f.yaml", &text).unwrap().open(&[Identity::generate()]).err().unwrap().to_string();
    assert!(strangers.contains(&for_host().recipients[0]), "{strangers}");
    for said in [told(&swapped), strangers, told(&text.replace(token_, "hunter2"))] {
        assert!(!said.contains("hunter"), "{said}");
    }
}

#[test]
fn comments_order_and_odd_values_are_kept() {
    let text = "# head\n\n# before a\na: plain value # behind a\ntop: # behind top\n    # before b\n    b: 1\n    # after b\n# before list\nlist:\n    # first\n    - x # behind x\n    - k: v\n      # inside\n      l: 1000\n    # last\n\"quoted: key\": \"a: # b\"\nsingle: 'it''s # not'\nflow: {a: 1, b: [x, \"y, z\"]} # behind flow\nempty: \"\"\nnothing:\nnil: ~\nwhen: 2020-01-01\nhalf: 0.5\nyes: yes\nclear_unencrypted:\n    # seen\n    x: True\nlines: |\n    one\n      two\n\n    three\n# the end\n";
    let file = sealed(text);
    // With its space: letters alone may come up in base64 by chance.
    for word in [" head", " behind", "plain value", " one", "0.5", " inside", " first", " 2020"] {
        assert!(!file.contains(word), "{word} is in clear:\n{file}");
    }
    assert!(file.contains("# seen\n    x: True\n"));
    let back = clear(&file);
    let expected = text
        .replace("'it''s # not'", "\"it's # not\"")
        .replace("2020-01-01", "2020-01-01T00:00:00Z")
        .replace("yes: yes", "yes: \"yes\"");
    assert_eq!(back, expected);
    let opened = open(&file).unwrap();
    let value = |name: &str| String::from_utf8(opened.value(name).unwrap().to_vec()).unwrap();
    assert_eq!(value("list/0"), "x");
    assert_eq!(value("flow/b/1"), "y, z");
    assert_eq!(value("lines"), "one\n  two\n\nthree\n");
    assert!(opened.value("top").err().unwrap().to_string().contains("holds some: top/b"));
    assert!(opened.value("tob/b").err().unwrap().to_string().contains("did you mean `top/b`"));
    assert!(opened.value("nothing").is_err());
}

#[test]
fn a_change_seals_anew_what_changed_and_nothing_else() {
    let file = sealed("# note\na: one\nb:\n    c: two\n    d: |\n        x\n        y\n");
    let opened = open(&file).unwrap();
    let changed = opened.with_value("b/c", "other", NOW).unwrap();
    assert_eq!(token(&changed, "a"), token(&file, "a"));
    assert_eq!(clear(&changed), "# note\na: one\nb:\n    c: other\n    d: |\n        x\n        y\n");
    let edited = opened.with_text("# note\nb:\n    c: two\na: one\n", NOW).unwrap();
    assert_eq!(token(&edited, "a"), token(&file, "a"));
    assert_eq!(token(&edited, "c"), token(&file, "c"));
    assert_eq!(edited.lines().next(), file.lines().next());

    let more = opened.with_value("b/e/f", "deep", NOW).unwrap();
    let more = open(&more).unwrap().with_value("top", "two\nlines\n", NOW).unwrap();
    assert_eq!(
        clear(&more),
        "# note\na: one\nb:\n    c: two\n    d: |\n        x\n        y\n    e:\n        f: deep\ntop: |\n    two\n    lines\n"
    );
    let refused = |name: &str| opened.with_value(name, "x", NOW).unwrap_err().to_string();
    assert!(refused("b").contains("holds some"));
    assert!(refused("a/x").contains("is a value already"));
    assert!(refused("sops/x").contains("is no name"));
}

#[test]
fn a_rotation_changes_every_seal_and_no_value() {
    let file = sealed("# note\na: one\nlist:\n    - 1\n    - true\nb_unencrypted: seen\n");
    let rotated = open(&file).unwrap().rotated(NOW).unwrap();
    assert_eq!(clear(&rotated), clear(&file));
    let before: Vec<&str> = file.lines().filter(|line| line.contains("ENC[")).collect();
    assert!(rotated.lines().all(|line| !before.contains(&line)));
    let wrapped = |text: &str| text.split("-----BEGIN AGE").nth(1).map(str::to_owned);
    assert_ne!(wrapped(&rotated), wrapped(&file));
}

#[test]
fn recipients_come_and_go_and_keys_of_other_kinds_stay() {
    let (one, two) = (Identity::generate(), Identity::generate());
    let file = sealed("a: one\n").replace("    lastmodified", "    pgp:\n        - created_at: \"2020\"\n          enc: |-\n            -----BEGIN PGP MESSAGE-----\n          fp: 00\n    lastmodified");
    let both = [for_host().recipients[0].clone(), one.recipient()];
    let more = open(&file).unwrap().rewrapped(&both, NOW).unwrap();
    assert!(more.contains("          enc: |-\n            -----BEGIN PGP MESSAGE-----\n          fp: 00\n"));
    assert_eq!(token(&more, "a"), token(&file, "a"));
    let locked = || Locked::parse("f.yaml", &more).unwrap();
    assert!(locked().open(&[one]).is_ok());
    assert!(locked().open(&[two]).is_err());
    assert!(open(&more).unwrap().rotated(NOW).unwrap_err().to_string().contains("pgp"));
}

#[test]
fn what_sops_would_not_keep_is_refused_with_its_place() {
    let told = |text: &str| Open::create("f.yaml", text, &for_host(), NOW).unwrap_err().to_string();
    assert!(told("a: &x 1\nb: 2\n").starts_with("f.yaml:1:4: has an anchor"));
    assert!(told("a: !!str 1\n").contains("a tag"));
    assert!(told("a: 1\na: 2\n").contains("stands here twice"));
    assert!(told("a: 1\n---\nb: 2\n").contains("second document"));
    assert!(told("- a\n").contains("is a list"));
    assert!(told("sops: 1\n").contains("`sops`"));
    assert!(told("a: 99999999999999999990\nb: 9223372036854775808\n").contains("`b` is a whole number"));
}

#[test]
fn the_mac_is_the_one_that_was_computed_elsewhere() {
    let text = Text::parse("f.yaml", "db:\n    password: hunter2\nflag: true\nport: 8080\n").unwrap();
    let mac = |only_encrypted| {
        let section = Section::new(Some(("unencrypted_suffix", "_open")), only_encrypted).unwrap();
        let plain =
            text.values().map(|(piece, value, plain)| Some((resolve(value, plain).unwrap()?, piece.path.clone())));
        open::mac(&text, &section, &plain.collect::<Vec<_>>())
    };
    assert_eq!(
        mac(false),
        "294A61887BE688A55B6CD12417B0E051602F20A7FF90317BF6A1F0640CE86367B72DED390DA8B541F796F585FCD9C20C97EF07AB4852291532BB99A9EC40F562"
    );
    assert_eq!(
        mac(true),
        "396184F9A31DC4D74C1BBAB0284B216D62295827346B5348F5D3AC80D533635BC8C3924C3E8B19D3F00A821C70C8BD851D3CC0C52DF8FC4898F292DFBB37E577"
    );
}

#[test]
fn the_first_rule_that_fits_says_for_whom() {
    let dir = tempfile::tempdir().unwrap();
    let rules = |text: &str| {
        std::fs::write(dir.path().join(".sops.yaml"), text).unwrap();
        let file = dir.path().join("deep/secrets.yaml");
        Rules::find(&file).and_then(|rules| rules.of(&file)).map_err(|error| error.to_string())
    };
    let creation = rules("creation_rules:\n  - path_regex: ^other\n    age: no\n  - path_regex: deep/.*\\.yaml$\n    age: one, two\n    encrypted_regex: ^a\n    mac_only_encrypted: true\n").unwrap();
    assert_eq!(creation.recipients, ["one", "two"]);
    assert_eq!(creation.rule, Some(("encrypted_regex".into(), "^a".into())));
    assert!(creation.mac_only_encrypted);
    assert!(
        rules("creation_rules:\n  - key_groups:\n    - age: [one]\n    - age: [two]\n")
            .unwrap_err()
            .contains("one `- ` too many")
    );
    assert!(rules("creation_rules:\n  - pgp: ABC\n    age: one\n").unwrap_err().contains("`pgp`"));
    assert!(
        rules("creation_rules:\n  - path_regex: nothing\n    age: one\n")
            .unwrap_err()
            .contains("no rule is for deep/secrets.yaml")
    );
}

#[test]
fn whoever_was_faster_is_not_written_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f.yaml");
    replace(&path, None, "one").unwrap();
    assert!(matches!(replace(&path, None, "two"), Err(SopsError::Race(_))));
    assert!(matches!(replace(&path, Some("else"), "two"), Err(SopsError::Race(_))));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let link = dir.path().join("link.yaml");
    std::os::unix::fs::symlink(Path::new("f.yaml"), &link).unwrap();
    replace(&link, Some("one"), "two").unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "two");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
}

proptest! {
    /// Whatever text a value is, it comes back: from the sealed file, and through an editor that changes nothing.
    #[test]
    fn any_text_is_kept(values in prop::collection::btree_map("[a-z]{1,8}", any::<String>(), 1..6)) {
        let values: BTreeMap<String, String> = values.into_iter().filter(|(key, _)| key != "sops").collect();
        let first = sealed("first: 1\n");
        let file = values.iter().fold(first, |file, (key, value)| open(&file).unwrap().with_value(key, value, NOW).unwrap());
        let opened = open(&file).unwrap();
        let again = opened.with_text(&opened.in_clear().unwrap(), NOW).unwrap();
        for file in [opened, open(&again).unwrap()] {
            for (key, value) in &values {
                let kept = file.value(key).unwrap();
                prop_assert_eq!(kept.as_slice(), value.as_bytes());
            }
        }
    }
}

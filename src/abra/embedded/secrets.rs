//! `app secret …`. Values go to Docker through a pipe and to the caller on standard output, and nowhere else.

use std::io::Read;

use zeroize::Zeroizing;

use super::cli::{Generate, Insert, SecretLs, SecretRm};
use super::git::Clone;
use super::home::{App, Home};
use super::say::{Say, debug};
use super::{Done, Fatal, docker, fatal};
use crate::compose::env_file::Modifiers;
use crate::recipe::{self, Said, SecretSpec};

type Made = Vec<(String, Zeroizing<String>)>;

/// Larger is no secret, says Swarm.
const MOST_BYTES: u64 = 500 << 10;

/// The app and what its recipe declares, the recipe checked out as the app wants it.
fn open(home: &Home, say: Say, domain: &str, chaos: bool) -> Result<(App, Clone), Fatal> {
    let app = home.app(domain)?;
    let clone = home.ensure(&app.recipe, say)?;
    if !chaos {
        clone.require_clean(app.recipe.as_str())?;
        if !home.flags.offline {
            clone.update()?;
        }
        if let Some(pinned) = app.pinned.as_deref() {
            clone.checkout(pinned.trim_end_matches("+U"))?;
        }
    }
    Ok((app, clone))
}

fn declared(app: &App, clone: &Clone) -> Result<Said, Fatal> {
    let said = recipe::open(&clone.dir)?.say_unchecked(&app.env, app.domain.as_str())?;
    match said.secrets.iter().find(|secret| secret.version.is_empty()) {
        Some(secret) => fatal(format!("missing version for secret? ({})", secret.name)),
        None => Ok(said),
    }
}

pub(super) fn generate(home: &Home, say: Say, asked: &Generate) -> Done {
    if asked.pass {
        return fatal("--pass: the abra built into cc-ci stores nothing in pass");
    }
    match (&asked.secret, &asked.version, asked.all) {
        (None, _, false) => return fatal("missing arguments [secret]/[version] or '--all'"),
        (Some(_), None, false) => return fatal("missing argument [version]"),
        (Some(_), _, true) => return fatal("cannot use '[secret] [version]' and '--all' together"),
        _ => {}
    }
    let (app, clone) = open(home, say, &asked.domain, asked.chaos)?;
    let made = match (&asked.secret, &asked.version) {
        (Some(name), Some(version)) => {
            let said = declared(&app, &clone)?;
            let mut spec = find(&said, name)?.clone();
            if !spec.modifiers.generate {
                return fatal(format!("{name} is not to be generated (#generate=false); insert it"));
            }
            spec.full_name = format!("{}_{name}_{version}", said.stack);
            store_new(say, &[&spec])?
        }
        _ => generate_all(say, &app, &clone)?,
    };
    if asked.machine.machine {
        let rows = made.iter().map(|(name, value)| serde_json::json!({"name": name, "value": value.as_str()}));
        say.json(&serde_json::Value::Array(rows.collect()));
        return Ok(());
    }
    if made.is_empty() {
        say.warn("no secrets generated?");
        return Ok(());
    }
    let rows: Vec<Vec<String>> = made.iter().map(|(name, value)| vec![name.clone(), value.to_string()]).collect();
    say.table(&["NAME", "VALUE"], &rows);
    say.warn("generated secrets are not shown again, please take note of them NOW");
    Ok(())
}

/// Every secret that the app's compose files use and that may be generated.
pub(super) fn generate_all(say: Say, app: &App, clone: &Clone) -> Result<Made, Fatal> {
    let said = declared(app, clone)?;
    let wanted: Vec<&SecretSpec> = said.secrets.iter().filter(|secret| secret.modifiers.generate).collect();
    for skipped in said.secrets.iter().filter(|secret| !secret.modifiers.generate) {
        debug!(say, "{} is not to be generated (#generate=false)", skipped.name);
    }
    store_new(say, &wanted)
}

fn store_new(say: Say, wanted: &[&SecretSpec]) -> Result<Made, Fatal> {
    let there = docker::secret_names()?;
    let mut made = Vec::new();
    for secret in wanted {
        if there.contains(&secret.full_name) {
            say.warn(&format!("{} already exists, skipping", secret.full_name));
            continue;
        }
        let value = value(&secret.modifiers)?;
        docker::secret_create(&secret.full_name, value.as_bytes())?;
        made.push((secret.name.clone(), value));
    }
    Ok(made)
}

fn find<'a>(said: &'a Said, name: &str) -> Result<&'a SecretSpec, Fatal> {
    let found = said.secrets.iter().find(|secret| secret.name == name);
    found.ok_or_else(|| Fatal(format!("no secret {} in this recipe's compose files", name.escape_debug())))
}

pub(super) fn insert(home: &Home, say: Say, asked: &Insert) -> Done {
    let (app, clone) = open(home, say, &asked.domain, asked.chaos)?;
    let said = declared(&app, &clone)?;
    find(&said, &asked.secret)?;
    let is_version = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    if asked.version.is_empty() || !asked.version.bytes().all(is_version) {
        return fatal(format!("`{}` is not a version such as v1", asked.version.escape_debug()));
    }
    let mut data = Zeroizing::new(Vec::new());
    match &asked.data {
        Some(path) if asked.file => {
            let file =
                std::fs::File::open(path).map_err(|error| Fatal(format!("{}: {error}", path.to_string_lossy())))?;
            file.take(MOST_BYTES + 1).read_to_end(&mut data)?;
        }
        Some(value) => data.extend_from_slice(value.as_encoded_bytes()),
        None => {
            std::io::stdin().take(MOST_BYTES + 1).read_to_end(&mut data)?;
        }
    }
    let value = if asked.trim { data.trim_ascii() } else { &data[..] };
    if value.is_empty() {
        return fatal("no data for the secret: give it as an argument, as a file with --file, or on standard input");
    }
    docker::secret_create(&format!("{}_{}_{}", said.stack, asked.secret, asked.version), value)?;
    say.info(&format!("{} {} successfully stored on server", asked.secret, asked.version));
    Ok(())
}

pub(super) fn rm(home: &Home, say: Say, asked: &SecretRm) -> Done {
    if asked.secret.is_some() == asked.all {
        let both = "cannot use [secret] and '--all' together";
        return fatal(if asked.all { both } else { "no secret(s) specified?" });
    }
    let (app, clone) = open(home, say, &asked.domain, asked.chaos)?;
    let said = declared(&app, &clone)?;
    let wanted: Vec<&SecretSpec> = match &asked.secret {
        Some(name) => vec![find(&said, name)?],
        None => said.secrets.iter().collect(),
    };
    let there = docker::secret_names()?;
    let there: Vec<_> = wanted.into_iter().filter(|secret| there.contains(&secret.full_name)).collect();
    if there.is_empty() {
        say.info("no secrets to remove");
        return Ok(());
    }
    home.confirm(say, "remove secrets?")?;
    for secret in there {
        docker::secret_rm(&secret.full_name)?;
        say.info(&format!("deleted {} successfully from server", secret.name));
    }
    Ok(())
}

pub(super) fn ls(home: &Home, say: Say, asked: &SecretLs) -> Done {
    let (app, clone) = open(home, say, &asked.domain, asked.chaos)?;
    let said = declared(&app, &clone)?;
    let there = docker::secret_names()?;
    let row = |secret: &SecretSpec| {
        let created = there.contains(&secret.full_name).to_string();
        [secret.name.clone(), secret.version.clone(), secret.full_name.clone(), created]
    };
    let rows: Vec<[String; 4]> = said.secrets.iter().map(row).collect();
    if asked.machine.machine {
        let rows = rows.iter().map(|[name, version, full_name, created]| {
            serde_json::json!({"name": name, "version": version, "generated name": full_name, "created on server": created})
        });
        say.json(&serde_json::Value::Array(rows.collect()));
    } else {
        let rows: Vec<Vec<String>> = rows.into_iter().map(Vec::from).collect();
        say.table(&["NAME", "VERSION", "GENERATED NAME", "CREATED ON SERVER"], &rows);
    }
    Ok(())
}

const LETTERS_AND_DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const SPECIAL: &[u8] = b"!@#$%^&*_-+=";
/// Specials that survive a URL, a shell and a configuration file unquoted.
const SAFE_SPECIAL: &[u8] = b"!@#%^&*_-+=";

/// A new value: of a length if one is said, else a phrase.
fn value(modifiers: &Modifiers) -> Result<Zeroizing<String>, Fatal> {
    let Some(length) = modifiers.length else { return phrase() };
    if length == 0 || length as u64 > MOST_BYTES {
        return fatal(format!("a secret cannot be {length} characters long"));
    }
    let alphabet = match modifiers.charset.as_deref().unwrap_or("default") {
        "default" | "alnum" => LETTERS_AND_DIGITS.to_vec(),
        "special" => [LETTERS_AND_DIGITS, SPECIAL].concat(),
        "safespecial" => [LETTERS_AND_DIGITS, SAFE_SPECIAL].concat(),
        "hex" => b"0123456789abcdef".to_vec(),
        other => {
            return fatal(format!(
                "`{}` is no charset; there are default, special, safespecial and hex",
                other.escape_debug()
            ));
        }
    };
    let mut value = Zeroizing::new(String::with_capacity(length));
    for _ in 0..length {
        value.push(char::from(alphabet[below(alphabet.len())?]));
    }
    Ok(value)
}

/// Six words that can be said aloud, each one of a hundred thousand.
fn phrase() -> Result<Zeroizing<String>, Fatal> {
    const CONSONANTS: &[u8] = b"bdfghjklmnprstvz";
    const VOWELS: &[u8] = b"aeiou";
    let mut value = Zeroizing::new(String::new());
    for word in 0..6 {
        if word > 0 {
            value.push('-');
        }
        for letters in [CONSONANTS, VOWELS, CONSONANTS, VOWELS, CONSONANTS] {
            value.push(char::from(letters[below(letters.len())?]));
        }
    }
    Ok(value)
}

/// Each number below `most` as likely as the others.
fn below(most: usize) -> Result<usize, Fatal> {
    let fair = 256 - 256 % most;
    loop {
        let mut byte = [0];
        getrandom::fill(&mut byte).map_err(|error| Fatal(format!("no random numbers: {error}")))?;
        if usize::from(byte[0]) < fair {
            return Ok(usize::from(byte[0]) % most);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(length: Option<usize>, charset: Option<&str>) -> Result<String, String> {
        let modifiers = Modifiers { length, charset: charset.map(str::to_owned), generate: true };
        value(&modifiers).map(|value| value.to_string()).map_err(|Fatal(text)| text)
    }

    #[test]
    fn lengths_and_charsets_are_kept() {
        for (charset, allowed) in [
            (None, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789".to_owned()),
            (Some("alnum"), String::from_utf8(LETTERS_AND_DIGITS.into()).unwrap()),
            (Some("hex"), "0123456789abcdef".to_owned()),
            (Some("safespecial"), String::from_utf8([LETTERS_AND_DIGITS, SAFE_SPECIAL].concat()).unwrap()),
            (Some("special"), String::from_utf8([LETTERS_AND_DIGITS, SPECIAL].concat()).unwrap()),
        ] {
            let value = made(Some(2000), charset).unwrap();
            assert_eq!(value.len(), 2000);
            assert!(value.chars().all(|c| allowed.contains(c)), "{charset:?}");
            assert!(allowed.chars().all(|c| value.contains(c)), "{charset:?} leaves some out");
        }
        assert!(made(Some(5), Some("klingon")).unwrap_err().contains("klingon"));
        assert!(made(Some(0), None).is_err());
    }

    #[test]
    fn without_a_length_it_is_a_phrase() {
        let value = made(None, None).unwrap();
        let words: Vec<&str> = value.split('-').collect();
        assert!(words.len() == 6 && words.iter().all(|word| word.len() == 5), "{value}");
        assert_ne!(value, made(None, None).unwrap());
    }
}

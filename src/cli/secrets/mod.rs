//! `cc-ci secrets`: files of secrets in sops' form, without the sops program.

mod edit;
mod init;

use std::io::{IsTerminal, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use clap::{Args, Subcommand};
use zeroize::Zeroizing;

use super::{Done, Failure};
use crate::clock::Clock;
use crate::say;
use crate::secrets::sops::keys::{self, Identity, KeyError};
use crate::secrets::sops::{Locked, Open, Rules, SopsError, replace};

/// What the modules ask for where nothing else is said, and what it is.
const NEEDED: [(&str, &str); 3] = [
    ("forge/token", "the bot's token on the forge"),
    ("wildcard/certificate", "the wildcard certificate in PEM, its chain after it"),
    ("wildcard/key", "the certificate's key in PEM"),
];

#[derive(Debug, Subcommand)]
pub(crate) enum Secrets {
    /// Says whether a file will do: MAC, recipients as `.sops.yaml` has them, nothing missing, nothing in clear.
    Check {
        #[command(flatten)]
        file: File,
        /// Names that have to be there; those that every appliance needs where none is given.
        #[arg(long, value_name = "NAME")]
        needs: Vec<String>,
        /// For a machine that has no key: values and MAC stay unseen.
        #[arg(long)]
        without_key: bool,
    },
    /// Prints a value.
    Show {
        /// Which: `forge/token`.
        name: String,
        #[command(flatten)]
        file: File,
        /// As it is, also where no terminal is.
        #[arg(long)]
        raw: bool,
    },
    /// Sets a value to what comes on standard input. One line loses its line end, several keep it.
    #[command(after_help = "Example: cc-ci secrets set forge/token <token.txt")]
    Set {
        /// Which: `forge/token`.
        name: String,
        #[command(flatten)]
        file: File,
    },
    /// Opens the file in `$EDITOR` and seals what is saved.
    Edit {
        #[command(flatten)]
        file: File,
    },
    /// A new data key, and every value sealed anew, for the same recipients.
    Rotate {
        #[command(flatten)]
        file: File,
    },
    /// Seals the file's data key for the recipients of `.sops.yaml`.
    Updatekeys {
        #[command(flatten)]
        file: File,
    },
    /// Makes an age key: the secret part into a file, the recipient to standard output.
    Keygen {
        /// The file with the secret part, which must not be there yet.
        #[arg(long, short, value_name = "FILE")]
        output: PathBuf,
    },
    /// The age recipient of an ssh key: of a file, or of what comes on standard input (`ssh-keyscan`'s lines too).
    SshToAge {
        /// The file with the key; standard input where none is named.
        key: Option<PathBuf>,
        /// The age key of an ssh key's secret part, into this file.
        #[arg(long, value_name = "FILE")]
        private: Option<PathBuf>,
    },
    /// A new host in one command: `.sops.yaml` and a file for the host's key and a recovery key.
    Init(init::Init),
}

#[derive(Debug, Args)]
pub(crate) struct File {
    /// The encrypted file.
    #[arg(long, short, env = "CC_CI_SECRETS", default_value = "secrets/secrets.yaml")]
    file: PathBuf,
    /// A key that opens it: age's own form, or an ssh key. Otherwise where sops looks: `SOPS_AGE_KEY`, `SOPS_AGE_KEY_FILE`,
    /// `~/.config/sops/age/keys.txt`; and the host's ssh key.
    #[arg(long, value_name = "FILE")]
    key: Vec<PathBuf>,
}

pub(super) fn secrets(command: Secrets) -> Done {
    match command {
        Secrets::Check { file, needs, without_key } => check(&file, &needs, without_key),
        Secrets::Show { name, file, raw } => show(&file, &name, raw),
        Secrets::Set { name, file } => set(&file, &name),
        Secrets::Edit { file } => edit::edit(&file),
        Secrets::Rotate { file } => rotate(&file),
        Secrets::Updatekeys { file } => updatekeys(&file),
        Secrets::Keygen { output } => keygen(&output),
        Secrets::SshToAge { key, private } => ssh_to_age(key.as_deref(), private.as_deref()),
        Secrets::Init(asked) => init::init(&asked),
    }
}

/// What is wrong with a file is an answer; that it cannot be read or written, the machine's fault.
impl From<SopsError> for Failure {
    fn from(error: SopsError) -> Failure {
        match error {
            SopsError::File { .. } | SopsError::NoRandom(_) => Failure::infra(error),
            SopsError::Rules { .. } | SopsError::NoRules(_) | SopsError::Key(_) => Failure::usage(error),
            _ => Failure::no(error),
        }
    }
}

impl From<KeyError> for Failure {
    fn from(error: KeyError) -> Failure {
        Failure::usage(error)
    }
}

impl File {
    fn open(&self) -> Result<Open, Failure> {
        let locked = Locked::read(&self.file)?;
        Ok(locked.open(&self.identities()?)?)
    }

    /// Puts a new text in place of what was opened.
    fn put(&self, opened: &Open, text: &str) -> Result<(), Failure> {
        Ok(replace(&self.file, Some(opened.locked().as_read()), text)?)
    }

    fn identities(&self) -> Result<Vec<Identity>, Failure> {
        let mut found = Vec::new();
        for path in &self.key {
            found.extend(Identity::read(path)?);
        }
        if !self.key.is_empty() {
            return Ok(found);
        }
        if let Ok(text) = std::env::var("SOPS_AGE_KEY").map(Zeroizing::new) {
            found.extend(Identity::parse("SOPS_AGE_KEY", &text)?);
        }
        let config = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).or_else(|| Some(home()?.join(".config")));
        let places = [
            std::env::var_os("SOPS_AGE_KEY_FILE").map(PathBuf::from),
            config.map(|config| config.join("sops/age/keys.txt")),
            Some("/etc/ssh/ssh_host_ed25519_key".into()),
        ];
        // Whoever may not read the host's key is not who it is for.
        for path in places.into_iter().flatten().filter(|path| std::fs::File::open(path).is_ok()) {
            found.extend(Identity::read(&path)?);
        }
        if found.is_empty() {
            return Err(Failure::usage(anyhow!(
                "no key is here to open {} with; give one with --key",
                self.file.display()
            )));
        }
        Ok(found)
    }
}

fn home() -> Option<PathBuf> {
    std::env::var_os("HOME").map(PathBuf::from)
}

fn check(file: &File, needs: &[String], without_key: bool) -> Done {
    let locked = Locked::read(&file.file)?;
    let mut wrong: Vec<String> = Vec::new();
    let path = file.file.display().to_string();
    let mode = std::fs::metadata(&file.file).with_context(|| path.clone())?.permissions().mode() & 0o777;
    if mode & 0o022 != 0 {
        wrong.push(format!("{path}: others can write it (mode {mode:03o}); chmod 644 it"));
    }
    wrong.extend(recipients_differ(&file.file, &locked)?);
    for name in locked.in_clear() {
        wrong.push(SopsError::Leaf { file: path.clone(), name }.to_string());
    }
    let needs: Vec<&str> =
        if needs.is_empty() { NEEDED.map(|(name, _)| name).into() } else { needs.iter().map(String::as_str).collect() };
    let (values, names) = (locked.names().count(), locked.names().map(str::to_owned).collect::<Vec<_>>());
    let absent = needs.iter().filter(|need| !names.iter().any(|name| name == *need));
    wrong.extend(absent.map(|need| format!("{path}: `{need}` is not there; `cc-ci secrets set {need}` puts it in")));
    let empty = locked.empty();
    let empty = needs.iter().filter(|need| empty.contains(need));
    wrong.extend(empty.map(|need| format!("{path}: `{need}` is empty; `cc-ci secrets set {need}` fills it")));
    let recipients = locked.recipients().len();
    if !without_key && let Err(error) = locked.open(&file.identities()?) {
        let error = error.to_string();
        if !wrong.contains(&error) {
            wrong.push(error);
        }
    }
    if wrong.is_empty() {
        let mac = if without_key { "MAC and values not looked at" } else { "MAC and values are right" };
        crate::say!("{path}: good; {values} values for {recipients} recipients, {mac}");
        return Ok(ExitCode::SUCCESS);
    }
    for line in wrong {
        crate::say!("{line}");
    }
    Ok(ExitCode::FAILURE)
}

/// Where `.sops.yaml` and the file are not of one mind.
fn recipients_differ(path: &Path, locked: &Locked) -> Result<Vec<String>, Failure> {
    let rules = Rules::find(path)?;
    let asked = rules.of(path)?.recipients;
    let sealed = locked.recipients();
    let (rules, path) = (rules.path.display(), path.display());
    let mut wrong: Vec<String> = asked
        .iter()
        .filter(|key| !sealed.contains(key))
        .map(|key| format!("{path}: is not sealed for {key}, which {rules} names; `cc-ci secrets updatekeys` seals it"))
        .collect();
    wrong.extend(sealed.iter().filter(|key| !asked.contains(key)).map(|key| format!("{path}: is sealed for {key}, which {rules} does not name; `cc-ci secrets updatekeys`, then `cc-ci secrets rotate`")));
    if asked.len() < 2 {
        wrong.push(format!(
            "{rules}: names one key for {path}; with a second one, kept elsewhere, the file outlives it"
        ));
    }
    Ok(wrong)
}

fn show(file: &File, name: &str, raw: bool) -> Done {
    if !raw && !std::io::stdout().is_terminal() {
        return Err(Failure::usage(anyhow!(
            "a secret is shown on a terminal only; say --raw where it shall go elsewhere"
        )));
    }
    let value = file.open()?.value(name)?;
    let end: &[u8] = if raw || value.ends_with(b"\n") { b"" } else { b"\n" };
    say::bytes(&value);
    say::bytes(end);
    Ok(ExitCode::SUCCESS)
}

fn set(file: &File, name: &str) -> Done {
    let opened = file.open()?;
    if std::io::stdin().is_terminal() {
        crate::aside!("the value of {name}, then Ctrl-D:");
    }
    let mut value = Zeroizing::new(String::new());
    std::io::stdin().read_to_string(&mut value).context("reading the value from standard input")?;
    let value = one_line(&value);
    if value.is_empty() {
        return Err(Failure::usage(anyhow!("nothing came on standard input; {name} is what it was")));
    }
    let text = opened.with_value(name, value, Clock::system().now())?;
    file.put(&opened, &text)?;
    crate::say!("{}: {name} is set", file.file.display());
    Ok(ExitCode::SUCCESS)
}

/// `echo`, editors and `head` end a line that is meant without its end; a certificate has many.
fn one_line(value: &str) -> &str {
    let line = value.strip_suffix('\n').map_or(value, |line| line.strip_suffix('\r').unwrap_or(line));
    if line.contains('\n') { value } else { line }
}

fn rotate(file: &File) -> Done {
    let opened = file.open()?;
    let differ = recipients_differ(&file.file, opened.locked());
    let text = opened.rotated(Clock::system().now())?;
    file.put(&opened, &text)?;
    crate::say!("{}: every value is sealed anew, under a new data key", file.file.display());
    // Without `.sops.yaml` there is nothing to compare with, as for the sops program.
    differ.unwrap_or_default().iter().for_each(|line| crate::say!("{line}"));
    Ok(ExitCode::SUCCESS)
}

fn updatekeys(file: &File) -> Done {
    let opened = file.open()?;
    let before = opened.locked().recipients();
    let after = Rules::find(&file.file)?.of(&file.file)?.recipients;
    if before == after {
        crate::say!("{}: is sealed for exactly these already", file.file.display());
        return Ok(ExitCode::SUCCESS);
    }
    let text = opened.rewrapped(&after, Clock::system().now())?;
    file.put(&opened, &text)?;
    after.iter().filter(|key| !before.contains(key)).for_each(|key| crate::say!("added    {key}"));
    let gone: Vec<&String> = before.iter().filter(|key| !after.contains(key)).collect();
    for key in &gone {
        crate::say!("removed  {key}");
    }
    if !gone.is_empty() {
        crate::say!(
            "Whoever was removed may have kept the data key: run `cc-ci secrets rotate` now. Older commits stay open to them, so \
             change the secrets themselves as well."
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn keygen(output: &Path) -> Done {
    crate::say!("{}", write_identity(output, &Identity::generate())?);
    Ok(ExitCode::SUCCESS)
}

/// As `age-keygen` writes them. Gives back the recipient.
fn write_identity(path: &Path, identity: &Identity) -> anyhow::Result<String> {
    let recipient = identity.recipient();
    write_new(path, &format!("# public key: {recipient}\n{}\n", identity.secret().expose()))?;
    Ok(recipient)
}

/// A file that nobody else reads and that was not there.
fn write_new(path: &Path, text: &str) -> anyhow::Result<()> {
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).with_context(|| path.display().to_string())
}

fn ssh_to_age(key: Option<&Path>, private: Option<&Path>) -> Done {
    let (name, text) = match key {
        Some(path) => {
            let text = crate::given::read_text(path).with_context(|| path.display().to_string())?;
            (path.display().to_string(), Zeroizing::new(text))
        }
        None => {
            let mut text = Zeroizing::new(String::new());
            std::io::stdin().read_to_string(&mut text).context("reading a key from standard input")?;
            ("standard input".to_owned(), text)
        }
    };
    if text.trim_start().starts_with("-----BEGIN") {
        let identity = Identity::parse(&name, &text)?.remove(0);
        match private {
            Some(path) => crate::say!("{}", write_identity(path, &identity)?),
            None => crate::say!("{}", identity.recipient()),
        }
        return Ok(ExitCode::SUCCESS);
    }
    if private.is_some() {
        return Err(Failure::usage(anyhow!("{name} is a public key; --private wants the secret one")));
    }
    // `ssh-keyscan` has the host's name before the key.
    let lines = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.find("ssh-ed25519 ").map(|at| &line[at..]));
    let found: Vec<String> = lines.map(|line| keys::recipient_of_ssh(&name, line)).collect::<Result<_, _>>()?;
    if found.is_empty() {
        return Err(Failure::usage(anyhow!("{name} holds no ssh key of the kind ssh-ed25519")));
    }
    for recipient in found {
        crate::say!("{recipient}");
    }
    Ok(ExitCode::SUCCESS)
}

//! `cc-ci secrets init`: what a new host needs, in one command.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use clap::Args;
use zeroize::Zeroizing;

use super::{Done, Failure, NEEDED, one_line, write_identity};
use crate::clock::Clock;
use crate::secrets::sops::keys::{self, Identity};
use crate::secrets::sops::{Open, Rules, replace};
use crate::yaml::{self, Node};

#[derive(Debug, Args)]
#[command(after_help = "Example: cc-ci secrets init --recovery-file ~/recovery-key.txt --token token.txt")]
pub(crate) struct Init {
    /// Where `.sops.yaml` and `secrets.yaml` go.
    #[arg(default_value = "secrets")]
    directory: PathBuf,
    /// The host's ssh key or age recipient: `ssh-ed25519 …`, `age1…`, or a file with one of them.
    #[arg(long, value_name = "KEY", default_value = "/etc/ssh/ssh_host_ed25519_key.pub")]
    host: String,
    /// Recipient of a recovery key that is there already.
    #[arg(long, value_name = "KEY", conflicts_with = "recovery_file", required_unless_present = "recovery_file")]
    recovery: Option<String>,
    /// Makes a recovery key into this file. Keep it off the machine and out of the repository.
    #[arg(long, value_name = "FILE")]
    recovery_file: Option<PathBuf>,
    /// File with the bot's token.
    #[arg(long, value_name = "FILE")]
    token: Option<PathBuf>,
    /// File with the wildcard certificate and its chain.
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// File with the certificate's key.
    #[arg(long, value_name = "FILE")]
    certificate_key: Option<PathBuf>,
}

pub(super) fn init(asked: &Init) -> Done {
    let rules = asked.directory.join(".sops.yaml");
    let file = asked.directory.join("secrets.yaml");
    if let Some(there) = [&rules, &file].into_iter().find(|path| path.exists()) {
        return Err(Failure::usage(anyhow!(
            "{} is there already; `cc-ci secrets updatekeys` takes a new host in",
            there.display()
        )));
    }
    let given = [&asked.token, &asked.certificate, &asked.certificate_key];
    let mut clear = String::new();
    for ((name, what), from) in NEEDED.into_iter().zip(given) {
        let value = from
            .as_ref()
            .map(|path| crate::given::read_text(path).with_context(|| path.display().to_string()))
            .transpose()?;
        let value = Node::text(one_line(&value.unwrap_or_default()), <_>::default());
        let (group, key) = name.split_once('/').unwrap_or((name, ""));
        if !clear.contains(&format!("{group}:\n")) {
            let _ = writeln!(clear, "{group}:");
        }
        let _ = write!(clear, "    # {what}\n    {key}: {}", yaml::render(&value));
    }
    let clear = Zeroizing::new(clear);
    let host = keys::recipient_of(&asked.host)?;
    let recovery = match (&asked.recovery, &asked.recovery_file) {
        (Some(recipient), _) => keys::recipient_of(recipient)?,
        (None, Some(path)) => write_identity(path, &Identity::generate())?,
        (None, None) => return Err(Failure::usage(anyhow!("give --recovery or --recovery-file"))),
    };
    std::fs::create_dir_all(&asked.directory).with_context(|| asked.directory.display().to_string())?;
    replace(&rules, None, &rules_text(&host, &recovery))?;
    let creation = Rules::read(&rules)?.of(&file)?;
    let text = Open::create(&file.display().to_string(), &clear, &creation, Clock::system().now())?;
    replace(&file, None, &text)?;
    crate::say!("{}: sealed for the host ({host}) and the recovery key ({recovery})", file.display());
    if let Some(path) = &asked.recovery_file {
        crate::say!("{}: the recovery key; keep it off the machine and out of the repository", path.display());
    }
    for ((name, what), _) in NEEDED.into_iter().zip(given).filter(|(_, from)| from.is_none()) {
        crate::say!("{name} is empty yet ({what}): cc-ci secrets set {name} --file {}", file.display());
    }
    Ok(ExitCode::SUCCESS)
}

fn rules_text(host: &str, recovery: &str) -> String {
    format!(
        "# Who can open secrets.yaml: the host with its ssh key, and whoever keeps the recovery key. After a change here:\n\
         # cc-ci secrets updatekeys, and cc-ci secrets rotate where somebody was taken out.\n\
         keys:\n  - &host {host}\n  - &recovery {recovery}\n\
         creation_rules:\n  - path_regex: secrets\\.yaml$\n    key_groups:\n      - age:\n          - *host\n          - *recovery\n"
    )
}

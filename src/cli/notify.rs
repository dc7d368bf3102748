//! `cc-ci notify test`: whether what the configuration's `notify` names can be reached, before it is needed.

use std::process::ExitCode;

use anyhow::anyhow;
use clap::Subcommand;

use super::{Configured, Done, Failure};
use crate::clock::Clock;
use crate::report::notify::{Message, Target};
use crate::secrets::redact::Redactor;

#[derive(Debug, Subcommand)]
pub(crate) enum Notify {
    /// Sends each target of `notify` a message, and says of each what came of it.
    Test {
        #[command(flatten)]
        configured: Configured,
        /// Only this target.
        name: Option<String>,
    },
}

pub(super) async fn notify(command: Notify) -> Done {
    let Notify::Test { configured, name } = command;
    let config = configured.load_without_secrets()?;
    let wanted: Vec<_> =
        config.notify.iter().filter(|target| name.as_ref().is_none_or(|name| *name == target.name)).collect();
    if wanted.is_empty() {
        let known: Vec<&str> = config.notify.iter().map(|target| target.name.as_str()).collect();
        return Err(Failure::usage(match name {
            None => anyhow!("`notify` names no target"),
            Some(name) => anyhow!("`notify` names no target `{name}`; it names: {}", known.join(", ")),
        }));
    }
    let (redactor, address) = (Redactor::new(), config.web.address());
    let mut all_sent = true;
    for target in wanted {
        let sent = match Target::open(target, &redactor) {
            Ok(open) => {
                let message = Message::test(&target.name, &address, Clock::system().now());
                open.send(&message).await.map_err(|not_sent| not_sent.why)
            }
            Err(error) => Err(crate::engine::causes(&error)),
        };
        match sent {
            Ok(()) => crate::say!("{}: sent", target.name),
            Err(why) => {
                all_sent = false;
                crate::say!("{}: not sent: {}", target.name, redactor.mask(&why));
            }
        }
    }
    Ok(if all_sent { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

//! `cc-ci token new|list|revoke`: who may act through the API. A token is shown once, when it is made.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::anyhow;
use clap::Subcommand;

use super::appliance::Place;
use super::{ACTOR, Done, Failure};
use crate::clock::{Clock, Time};
use crate::config::span;
use crate::model::Scope;
use crate::secrets::Secret;
use crate::store::audit::{self, Act};
use crate::store::{StoreError, tokens};

#[derive(Debug, Subcommand)]
pub(crate) enum Token {
    /// Makes one and prints it, once.
    #[command(after_help = "Example: cc-ci token new robot --scope run --expires 30d >~/.config/cc-ci.token")]
    New {
        #[command(flatten)]
        place: Place,
        /// What it is for, as lists and the audit call it.
        name: String,
        /// What it may be used for; may be said several times.
        #[arg(long = "scope", required = true)]
        scopes: Vec<Scope>,
        /// How long it is good: `30d`, `12h`.
        #[arg(long, default_value = "90d", value_parser = span::parse)]
        expires: Duration,
    },
    /// All there ever were.
    List {
        #[command(flatten)]
        place: Place,
        /// As data: a list of objects.
        #[arg(long)]
        json: bool,
    },
    /// Ends one at once.
    Revoke {
        #[command(flatten)]
        place: Place,
        /// What it was called when it was made.
        name: String,
    },
}

pub(super) async fn token(command: Token) -> Done {
    let now = Clock::system().now();
    match command {
        Token::New { place, name, scopes, expires } => {
            let fits = !name.is_empty() && name.chars().count() <= 64 && !name.chars().any(char::is_control);
            if !fits {
                return Err(Failure::usage(anyhow!(
                    "a token's name has 1 to 64 characters, none of them a control character"
                )));
            }
            if expires.is_zero() || expires > Duration::from_secs(10 * 366 * 86_400) {
                return Err(Failure::usage(anyhow!("`--expires` is more than nothing and less than ten years")));
            }
            let (_, store) = place.store()?;
            let token = fresh()?;
            let (value, until) = (token.clone(), now.plus(expires));
            let written = store.write("did not take the token", move |tx| {
                tokens::add(tx, &name, &value, &scopes, until, now)?;
                let said = format!("good for {} until {until}", words(&scopes));
                audit::push(tx, Act { actor: ACTOR, action: "token new", target: &name, said: &said }, now)
            });
            written.await.map_err(|error| match error {
                StoreError::Refused(why) => Failure::no(anyhow!(why)),
                error => error.into(),
            })?;
            crate::say!("{}", token.expose());
            crate::aside!("cc-ci: it is shown this once; good until {until}");
            Ok(ExitCode::SUCCESS)
        }
        Token::List { place, json } => {
            let (_, store) = place.store()?;
            let all = store.read(tokens::all).await?;
            if json {
                let rows: Vec<_> = all
                    .iter()
                    .map(|token| {
                        serde_json::json!({
                            "name": token.name, "scopes": token.scopes, "created_at": token.created_at.rfc3339(),
                            "expires_at": token.expires_at.rfc3339(), "used_at": token.used_at.map(Time::rfc3339),
                            "revoked_at": token.revoked_at.map(Time::rfc3339), "good": token.is_good(now),
                        })
                    })
                    .collect();
                crate::say!("{}", serde_json::to_string_pretty(&rows).map_err(Failure::infra)?);
                return Ok(ExitCode::SUCCESS);
            }
            if all.is_empty() {
                crate::say!("no tokens; `cc-ci token new NAME --scope run` makes one");
            }
            for token in all {
                let state = match token.revoked_at {
                    Some(at) => format!("revoked {}", at.format("%Y-%m-%d")),
                    None if token.is_good(now) => format!("until {}", token.expires_at.format("%Y-%m-%d")),
                    None => format!("expired {}", token.expires_at.format("%Y-%m-%d")),
                };
                let used = token.used_at.map_or_else(|| "never used".into(), |at| at.format("used %Y-%m-%d %H:%M"));
                crate::say!("{:24} {:20} {state:18} {used}", token.name, words(&token.scopes));
            }
            Ok(ExitCode::SUCCESS)
        }
        Token::Revoke { place, name } => {
            let (_, store) = place.store()?;
            let target = name.clone();
            let revoked = store.write("did not take the revocation", move |tx| {
                let revoked = tokens::revoke(tx, &target, now)?;
                if revoked {
                    let act =
                        Act { actor: ACTOR, action: "token revoke", target: &target, said: "good for nothing now" };
                    audit::push(tx, act, now)?;
                }
                Ok(revoked)
            });
            if !revoked.await? {
                return Err(Failure::no(anyhow!("no good token is named `{name}`; `cc-ci token list` shows them")));
            }
            crate::say!("the token {name} is good for nothing now");
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// 160 bits that nobody guesses, in a form that scanners of leaked secrets can tell.
fn fresh() -> Result<Secret, Failure> {
    let mut bytes = [0; 20];
    getrandom::fill(&mut bytes).map_err(Failure::infra)?;
    Ok(Secret::new(format!("ccci_{}", hex::encode(bytes))))
}

fn words(scopes: &[Scope]) -> String {
    scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(", ")
}

//! What the bot sees on the forge, and what it may do there.

use std::time::Duration;

use super::Row;
use crate::clock::Clock;
use crate::config::Config;
use crate::forge::gitea::Gitea;
use crate::forge::{Forge, ForgeError};
use crate::intake::enrol;
use crate::model::Login;
use crate::secrets;

/// Comments are ordered by the forge's clock; a difference beyond this confuses people, not cc-ci.
const SKEWED: Duration = Duration::from_secs(60);

pub(super) async fn examine(config: &Config, clock: &Clock) -> Vec<Row> {
    let Ok(token) = secrets::read_file(&config.forge.token_file) else {
        return vec![Row::failed("forge", "not asked, since there is no token", "see the row of the secrets")];
    };
    let forge = match Gitea::new(&config.forge.url, token, clock.clone()) {
        Ok(forge) => forge,
        Err(error) => return vec![Row::failed("forge", error.to_string(), "mend `forge.url`")],
    };
    let (version, bot) = match asked(&forge).await {
        Ok(answer) => answer,
        Err(error) => return vec![Row::failed("forge", format!("{}: {error}", config.forge.url), cure(&error))],
    };
    let mut rows = vec![Row::ok("forge", format!("{}, version {version}, bot @{bot}", config.forge.url))];
    let skew = forge.skew_ms().unwrap_or(0);
    if skew.unsigned_abs() > u64::try_from(SKEWED.as_millis()).unwrap_or(u64::MAX) {
        let saw = format!("the forge's clock is {} s from this machine's", skew / 1000);
        rows.push(Row::warn("clock", saw, "set both by NTP: `timedatectl`"));
    }
    rows.extend(organisation(config, &forge, &bot).await);
    rows
}

async fn asked(forge: &Gitea) -> Result<(String, Login), ForgeError> {
    Ok((forge.version().await?, forge.whoami().await?))
}

async fn organisation(config: &Config, forge: &Gitea, bot: &Login) -> Vec<Row> {
    let organisation = &config.forge.organisation;
    let mut rows = vec![match forge.is_member(organisation, bot).await {
        Ok(true) => Row::ok("members", format!("@{bot} is a member of {organisation}, so it sees who the others are")),
        Ok(false) => {
            let saw = format!("@{bot} is no member of {organisation}");
            Row::failed(
                "members",
                saw,
                format!("add it to a team of {organisation}; until then nobody can be authorised"),
            )
        }
        Err(error) => Row::failed("members", error.to_string(), cure(&error)),
    }];
    let repositories = match forge.repositories(organisation).await {
        Ok(repositories) => repositories,
        Err(error) => {
            rows.push(Row::failed("repositories", format!("{organisation}: {error}"), cure(&error)));
            return rows;
        }
    };
    let enrolled: Vec<_> =
        repositories.iter().filter(|repository| enrol::word(&config.forge.enrol, repository).enrolled).collect();
    let closed: Vec<String> = enrolled
        .iter()
        .filter(|repository| !repository.may_write)
        .map(|repository| repository.repo.to_string())
        .collect();
    let saw = format!("{} in {organisation}, {} of them tested", repositories.len(), enrolled.len());
    rows.push(if enrolled.is_empty() {
        Row::warn("repositories", saw, "see `forge.enrol`, and whether the bot's team has access to them")
    } else if closed.is_empty() {
        Row::ok("repositories", format!("{saw}; the bot may write to all of these"))
    } else {
        let shown = closed.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
        let saw = format!("{saw}; in {} of these the bot may not write a commit status: {shown}", closed.len());
        Row::warn("repositories", saw, "give the bot's team write access; until then the comment alone answers")
    });
    rows
}

fn cure(error: &ForgeError) -> &'static str {
    match error {
        ForgeError::Unauthorised(_) => {
            "make a new token for the bot and put it in with `cc-ci secrets set forge/token`"
        }
        ForgeError::Forbidden(_) => {
            "the token needs the scopes write:issue, write:repository, read:organization and read:user"
        }
        ForgeError::NotFound(_) => "is `forge.url` the forge's address, and `forge.organisation` spelt as there?",
        ForgeError::Misconfigured(_) => "add the bot to a team of the organisation",
        ForgeError::Archived(_) | ForgeError::Later { .. } | ForgeError::Odd(_) => {
            "look at the forge, and whether this machine reaches it"
        }
    }
}

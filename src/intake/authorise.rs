//! Who may ask: whoever the operator allows, and members of the organisation. Only an exact yes of the forge is one; every
//! error is a no, or is asked again, and never a yes.

use std::collections::HashMap;

use crate::config;
use crate::forge::{Forge, ForgeError};
use crate::model::Login;

/// What the forge said within one round, so that a flood of comments by one person asks once.
#[derive(Debug, Default)]
pub(super) struct Asked(HashMap<Login, bool>);

/// True for a person who may ask. `Err` is for the caller to wait over or to refuse, never to overlook.
pub(super) async fn may_ask<F: Forge>(
    forge: &F,
    rule: &config::Forge,
    author: &str,
    asked: &mut Asked,
) -> Result<bool, ForgeError> {
    if rule.allow.iter().any(|login| login.as_str().eq_ignore_ascii_case(author)) {
        return Ok(true);
    }
    // A name that no login can be is nobody's: a deleted user, or a forge that jokes.
    let Ok(login) = author.parse::<Login>() else { return Ok(false) };
    if let Some(&known) = asked.0.get(&login) {
        return Ok(known);
    }
    let member = match forge.is_member(&rule.organisation, &login).await {
        Ok(member) => member,
        Err(ForgeError::NotFound(_)) => false,
        Err(error) => return Err(error),
    };
    asked.0.insert(login, member);
    Ok(member)
}

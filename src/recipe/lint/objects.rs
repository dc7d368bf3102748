//! What is wrong with the configs and secrets: names that cannot change with what is in them, and names that are too long.

use super::{Findings, Severity};
use crate::compose::Kind;
use crate::recipe::{LONGEST_NAME, LONGEST_STACK, Recipe, Said};

pub(super) fn look(recipe: &Recipe, said: &Said, found: &mut Findings) {
    configs(recipe, said, found);
    names(said, found);
    secrets(said, found);
}

fn configs(recipe: &Recipe, said: &Said, found: &mut Findings) {
    for config in said.compose.configs().into_iter().filter(|config| !config.is_external()) {
        let place = said.compose.place(config.span);
        let usual = format!("{}_VERSION", config.key.to_uppercase().replace('-', "_"));
        let variable = said.compose.version_variable(&config).unwrap_or(&usual);
        let Some(name) = config.node.get("name") else {
            let message =
                format!("the config `{}` has no name with a version; Swarm refuses any change of it", config.key);
            let cure = format!("add `name: ${{STACK_NAME}}_{}_${{{variable}}}` and export it in abra.sh", config.key);
            found.warn("R012", place, message, &cure);
            continue;
        };
        // Filled in, a missing version leaves nothing behind the last underscore.
        if name.as_str().is_some_and(|name| name.ends_with('_')) && recipe.abra_sh.get(variable).is_none() {
            let message = format!("the version of the config `{}` is not exported", config.key);
            found.warn("R012", place, message, &format!("write `export {variable}=v1` in abra.sh"));
        }
    }
}

/// Told for the longest stack name that abra makes, since nobody knows yet where the recipe will be deployed.
fn names(said: &Said, found: &mut Findings) {
    for kind in [Kind::Config, Kind::Secret] {
        for object in said.compose.objects(kind) {
            let name = object.full_name(&said.stack);
            let Some(own) = name.strip_prefix(said.stack.as_str()) else { continue };
            let longest = LONGEST_STACK + own.len();
            if longest > LONGEST_NAME {
                let message = format!(
                    "the {} `{}` is too long for stacks of more than {} characters",
                    kind.word(),
                    object.key,
                    LONGEST_NAME.saturating_sub(own.len())
                );
                found.warn("R015", said.compose.place(object.span), message, "give it a shorter name");
            }
        }
    }
}

fn secrets(said: &Said, found: &mut Findings) {
    for secret in &said.secrets {
        if secret.version.is_empty() || secret.variable.is_none() {
            let usual = format!("SECRET_{}_VERSION", secret.name.to_uppercase().replace('-', "_"));
            let variable = secret.variable.as_deref().unwrap_or(&usual);
            let message = format!("the secret `{}` has no version that an app can set", secret.name);
            let cure = format!("end its name in `_${{{variable}}}`, and add `{variable}=v1` to .env.sample");
            found.warn("secret-version", secret.place.clone(), message, &cure);
        } else if !secret.modifiers.generate {
            let message =
                format!("the secret `{}` is not generated; a test needs its value from the appliance", secret.name);
            found.add("secret-generate", Severity::Note, secret.place.clone(), message, "");
        } else if secret.modifiers.length.is_none() {
            let message =
                format!("the secret `{}` says no length, so it becomes a phrase of several words", secret.name);
            let cure = "add `# length=32` behind its line in .env.sample where the program wants no spaces or hyphens";
            found.add("secret-length", Severity::Note, secret.place.clone(), message, cure);
        }
    }
}

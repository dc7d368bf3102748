//! `$ABRA_DIR`: servers with one `.env` for each app, and one clone of each recipe. The layout is abra's.

use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::cli::Flags;
use super::git::Clone;
use super::say::{Say, debug};
use super::{Done, Fatal, fatal};
use crate::compose::env_file::{self, EnvFile};
use crate::model::{AppDomain, RecipeName};
use crate::recipe;

#[derive(Debug)]
pub(super) struct Home {
    pub dir: PathBuf,
    pub flags: Flags,
}

/// An app: its `.env`, and what is said there of its recipe.
#[derive(Debug)]
pub(super) struct App {
    pub domain: AppDomain,
    pub server: String,
    pub path: PathBuf,
    pub env: EnvFile,
    pub recipe: RecipeName,
    /// What stands behind the recipe's name in `TYPE`.
    pub pinned: Option<String>,
}

impl Home {
    /// Finds the directory and makes what is missing in it.
    pub(super) fn open(flags: Flags) -> Result<Home, Fatal> {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let dir = set("ABRA_DIR").or_else(|| Some(set("HOME")?.join(".abra")));
        let Some(dir) = dir else { return fatal("neither ABRA_DIR nor HOME is set") };
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        for part in ["servers", "recipes", "catalogue", "logs", "vendor"] {
            let path = dir.join(part);
            builder.create(&path).map_err(|error| Fatal(format!("{}: {error}", path.display())))?;
        }
        Ok(Home { dir, flags })
    }

    pub(super) fn servers(&self) -> Result<Vec<String>, Fatal> {
        let mut found: Vec<String> = std::fs::read_dir(self.dir.join("servers"))?
            .flatten()
            // Servers may be symlinks.
            .filter(|entry| entry.path().is_dir())
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        found.sort();
        Ok(found)
    }

    /// Every app, by server and domain.
    pub(super) fn apps(&self) -> Result<Vec<App>, Fatal> {
        let mut found = Vec::new();
        for server in self.servers()? {
            let mut names: Vec<String> = std::fs::read_dir(self.dir.join("servers").join(&server))?
                .flatten()
                .filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".env").map(str::to_owned))
                .collect();
            names.sort();
            for name in names {
                found.extend(name.parse().ok().and_then(|domain| self.read_app(&server, domain).ok()));
            }
        }
        Ok(found)
    }

    pub(super) fn app(&self, domain: &str) -> Result<App, Fatal> {
        let Ok(name) = domain.parse::<AppDomain>() else {
            return fatal(format!("cannot find app with name {}", domain.escape_debug()));
        };
        for server in self.servers()? {
            if self.env_path(&server, &name).exists() {
                return self.read_app(&server, name);
            }
        }
        fatal(format!("cannot find app with name {name}"))
    }

    pub(super) fn env_path(&self, server: &str, domain: &AppDomain) -> PathBuf {
        self.dir.join("servers").join(server).join(format!("{domain}.env"))
    }

    fn read_app(&self, server: &str, domain: AppDomain) -> Result<App, Fatal> {
        let path = self.env_path(server, &domain);
        let text = std::fs::read_to_string(&path).map_err(|error| Fatal(format!("{}: {error}", path.display())))?;
        let env = env_file::parse(&text).map_err(|error| Fatal(format!("{}: {error}", path.display())))?;
        let said = env.get("TYPE").or_else(|| env.get("RECIPE")).unwrap_or_default();
        let (recipe, pinned) = said.split_once(':').map_or((said, None), |(name, version)| (name, Some(version)));
        let pinned = pinned.map(str::to_owned);
        let recipe = recipe.parse().map_err(|error| Fatal(format!("{}: TYPE: {error}", path.display())))?;
        Ok(App { domain, server: server.to_owned(), path, env, recipe, pinned })
    }

    pub(super) fn clone_of(&self, recipe: &RecipeName) -> Clone {
        Clone { dir: self.dir.join("recipes").join(recipe.as_str()) }
    }

    /// The recipe's clone, made if it is missing. Offline is no help against that, as with abra.
    pub(super) fn ensure(&self, recipe: &RecipeName, say: Say) -> Result<Clone, Fatal> {
        let clone = self.clone_of(recipe);
        if !clone.dir.exists() {
            debug!(say, "{recipe} is not there; cloning it");
            Clone::upstream(recipe.as_str(), &clone.dir)?;
        }
        Ok(clone)
    }

    /// Asks, unless told not to; nobody to ask is a no.
    pub(super) fn confirm(&self, say: Say, question: &str) -> Done {
        if self.flags.no_input {
            return Ok(());
        }
        if !std::io::IsTerminal::is_terminal(&std::io::stdin()) {
            return fatal(format!("{question} nobody is there to answer; use --no-input"));
        }
        say.print(&format!("{question} [y/N]"));
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer)?;
        if matches!(answer.trim(), "y" | "Y" | "yes") { Ok(()) } else { fatal("deployment cancelled") }
    }
}

impl App {
    pub(super) fn stack(&self) -> String {
        recipe::stack_name(&self.env.map(), self.domain.as_str())
    }

    /// Writes which version it is now behind the recipe's name.
    pub(super) fn pin(&mut self, version: &str) -> Done {
        let key = if self.env.get("TYPE").is_some() { "TYPE" } else { "RECIPE" };
        let value = format!("{}:{version}", self.recipe);
        if self.env.get(key) != Some(value.as_str()) {
            self.env.set(key, &value);
            write_env(&self.path, &self.env)?;
        }
        Ok(())
    }
}

/// Whole or not at all: an app whose `.env` is cut short cannot even be removed.
pub(super) fn write_env(path: &Path, env: &EnvFile) -> Done {
    let temporary = path.with_extension("env.new");
    std::fs::write(&temporary, env_file::write(env))?;
    std::fs::set_permissions(&temporary, std::fs::Permissions::from_mode(0o664))?;
    std::fs::rename(&temporary, path)?;
    Ok(())
}

//! What a machine has for running scripts.

use std::path::PathBuf;

use super::host::NoScripts;
use crate::sandbox::bubblewrap::{Bubblewrap, NoCage};

/// Where Fennel's compiler may lie, after what the environment and the build say.
const FENNEL: [&str; 4] = [
    "/usr/share/lua/5.4/fennel.lua",
    "/usr/local/share/lua/5.4/fennel.lua",
    "/usr/share/lua/common/fennel.lua",
    "/run/current-system/sw/share/lua/5.4/fennel.lua",
];

/// What this machine has for running scripts.
#[derive(Clone, Debug)]
pub struct Kit {
    pub bubblewrap: Bubblewrap,
    /// Fennel's compiler, one file of Lua.
    pub fennel: Option<PathBuf>,
}

impl Kit {
    /// Looks for bubblewrap on the PATH, and for Fennel's compiler where `CC_CI_FENNEL` says, now or when cc-ci was built, and
    /// in the usual places.
    pub fn find() -> Result<Kit, NoCage> {
        let told = std::env::var_os("CC_CI_FENNEL").map(PathBuf::from);
        let built = option_env!("CC_CI_FENNEL").map(PathBuf::from);
        let fennel = told.into_iter().chain(built).chain(FENNEL.map(PathBuf::from)).find(|path| path.is_file());
        Ok(Kit { bubblewrap: Bubblewrap::find()?, fennel })
    }

    /// The text of Fennel's compiler, if there is one.
    pub(super) async fn compiler(&self) -> Result<Option<String>, NoScripts> {
        let Some(path) = &self.fennel else { return Ok(None) };
        let text = tokio::fs::read_to_string(path).await;
        text.map(Some).map_err(|source| NoScripts::Fennel { path: path.display().to_string(), source })
    }
}

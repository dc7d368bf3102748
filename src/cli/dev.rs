//! `cc-ci dev …`: for developing, for the demo and for the tests. None of it is for an appliance.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Subcommand;

use super::process::on_runtime;
use super::{Done, Failure};
use crate::clock::Clock;
use crate::config;
use crate::dev::{self, seed::Seed};
use crate::reconcile::certificate;
use crate::store::Store;

#[derive(Debug, Subcommand)]
pub(crate) enum Dev {
    /// A forge of our own: the part of Gitea's API that cc-ci uses, real git, and a page to comment on.
    #[command(disable_help_flag = true)]
    Forge {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<std::ffi::OsString>,
    },
    /// Makes a git repository with a history from a recipe laid out as steps; prints its commits.
    Recipe {
        /// A directory of steps, as `tests/recipes` has them.
        fixture: PathBuf,
        /// Where the repository goes; there must be nothing yet.
        out: PathBuf,
    },
    /// Prepares a directory for `cc-ci up --dev`, and says in JSON where things will be.
    Setup {
        /// The directory, which is made where there is none.
        dir: PathBuf,
    },
    /// Makes a throw-away authority and a certificate for `*.DOMAIN` of each domain.
    Certificate {
        /// Where `authority.pem`, `certificate.pem` and `key.pem` go.
        dir: PathBuf,
        /// Each without the `*.`.
        #[arg(required = true, value_name = "DOMAIN")]
        domains: Vec<String>,
    },
    /// Writes believable history into a state directory, always the same.
    Seed {
        /// The state directory.
        #[arg(long)]
        dir: PathBuf,
        /// How many runs.
        #[arg(long, default_value_t = 1000)]
        runs: usize,
        /// Of each run; as many as such a recipe would have where it is not said.
        #[arg(long)]
        checks: Option<usize>,
        /// So many more that wait.
        #[arg(long, default_value_t = 0)]
        queued: usize,
    },
    /// How many bytes a second a log takes in, with redaction.
    MeasureLog {
        /// How much is written.
        #[arg(long, default_value_t = 256)]
        megabytes: u64,
    },
}

pub(super) fn dev(command: Dev) -> Done {
    match command {
        Dev::Forge { arguments } => Ok(crate::forge::dev::main(arguments)),
        Dev::Recipe { fixture, out } => on_runtime(1, async move {
            let made = dev::recipe::make(&fixture, &out).await.map_err(Failure::usage)?;
            crate::say!("{}", serde_json::to_string(&made).context("writing what was made")?);
            Ok(ExitCode::SUCCESS)
        }),
        Dev::Setup { dir } => {
            let config = dev::setup::prepare(&dir).map_err(Failure::usage)?;
            let world = serde_json::json!({
                "forge": config.forge.url, "web": config.web.address(), "domain": config.domain,
                "proxy": config.proxy.address.to_string(),
            });
            crate::say!("{world}");
            Ok(ExitCode::SUCCESS)
        }
        Dev::Certificate { dir, domains } => {
            let domains: Vec<&str> = domains.iter().map(String::as_str).collect();
            certificate::throw_away(&domains, &dir).map_err(Failure::infra)?;
            Ok(ExitCode::SUCCESS)
        }
        Dev::Seed { dir, runs, checks, queued } => on_runtime(1, async move {
            std::fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
            let store = Store::open(&config::database_in(&dir))?;
            let logs = Some((config::logs_in(&dir), 200));
            let seed = Seed { runs, checks, until: Clock::system().now(), open: true, logs };
            dev::seed::seed(&store, &seed).await.map_err(Failure::infra)?;
            dev::seed::queue_more(&store, queued, seed.until).await.map_err(Failure::infra)?;
            Ok(ExitCode::SUCCESS)
        }),
        Dev::MeasureLog { megabytes } => {
            let dir = std::env::temp_dir().join(format!("cc-ci-measure-{}", std::process::id()));
            std::fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
            let measured = crate::logs::measure(&dir, megabytes << 20);
            let _ = std::fs::remove_dir_all(&dir);
            let measured = measured.context("measuring")?;
            let figures = serde_json::json!({
                "bytes": measured.bytes, "megabytes_a_second": measured.rate(), "packed_bytes": measured.packed,
            });
            crate::say!("{figures}");
            Ok(ExitCode::SUCCESS)
        }
    }
}

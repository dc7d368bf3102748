//! The command line: one file a subcommand, each of them thin.
//!
//! Exit codes: 0 it went well · 1 the answer is no (a run failed, a check found something) · 2 the question was wrong (usage,
//! configuration) · 3 the machine, the network or the forge is at fault.

mod appliance;
mod audit;
mod compare;
mod db;
mod dev;
mod doctor;
mod enroll;
mod janitor;
mod lint;
mod look;
mod notify;
mod policy;
mod process;
mod reconcile;
mod remote;
mod runs;
mod secrets;
mod shell;
mod table;
mod token;
mod top;
mod trigger;
mod validate;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::config::{self, Config, ConfigError};
use crate::engine::causes;
use crate::engine::local::{self, NotRun};
use crate::say;

/// Tests pull requests of Co-op Cloud recipes by deploying them for real.
#[derive(Debug, Parser)]
#[command(name = "cc-ci", version, max_term_width = 100, arg_required_else_help = true, after_help = CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Server and runner in one process: laptop, demo, tests.
    Up(process::Up),
    /// The part that faces the network: polls the forge, reports, serves the pages. Never touches Docker.
    Serve(Configured),
    /// The part that deploys: takes runs from the queue, one after the other.
    Runner(Configured),
    /// Tests a recipe directory on this machine, with no server and no forge.
    Run(local::Args),
    /// Says whether this machine is ready, and what to do where it is not.
    Doctor(doctor::Doctor),
    /// Says whether a configuration file will do, and what is wrong with it.
    #[command(after_help = "Exit code 2 when it will not do.")]
    CheckConfig {
        /// The configuration file.
        file: PathBuf,
        /// The secrets' files need not be there: for the machine that builds, which never sees them.
        #[arg(long)]
        without_secrets: bool,
    },
    /// Removes what belongs to no live run: stacks, volumes, secrets, directories that a crash left.
    Janitor(janitor::Janitor),
    /// Lists, shows, compares, cancels and retries runs, and reads their logs.
    #[command(subcommand)]
    Runs(runs::Runs),
    /// What runs and what waits, in the order of its turns.
    Queue(look::Look),
    /// What is known of each recipe from its runs.
    Recipes(look::Look),
    /// What was done with comments that asked for something, and why.
    Decisions(look::Decisions),
    /// The two processes, and what they see of their host.
    Hosts(look::Look),
    /// Queues a run of a pull request, as `!testme` would.
    Trigger(trigger::Trigger),
    /// Makes, lists and revokes the tokens of the API.
    #[command(subcommand)]
    Token(token::Token),
    /// Shows what was done with tokens and on the command line, and checks that nobody changed it.
    #[command(subcommand)]
    Audit(audit::Audit),
    /// Whether those who are to be notified can be reached.
    #[command(subcommand)]
    Notify(notify::Notify),
    /// Copies the database, puts a copy back, looks through it.
    #[command(subcommand)]
    Db(db::Db),
    /// Brings Swarm, the proxy or the backup service to the state they should have, whatever is found.
    Reconcile(reconcile::Reconcile),
    /// Files of secrets in sops' form: checks, shows, sets, edits, rotates.
    #[command(subcommand)]
    Secrets(secrets::Secrets),
    /// Checks recipe directories without deploying them.
    Lint(lint::Lint),
    /// Says everything that is wrong with a recipe's `.cc-ci`, or with what the appliance knows about it.
    Validate(validate::Validate),
    /// Writes a file to start from: what cc-ci is told about a recipe.
    Enroll(enroll::Enroll),
    /// Says whether a recipe directory asks for anything of the host that a pull request may not.
    Policy(policy::Policy),
    /// Queue, the run that is under way and the host, live in a terminal.
    Top(top::Top),
    /// A script that completes this command line in a shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// The manual, made from this command line.
    Man(shell::Man),
    /// The abra command line, in the subset that cc-ci needs (`cc-ci abra --help`).
    #[command(disable_help_flag = true)]
    Abra {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<std::ffi::OsString>,
    },
    /// For developing: a forge of our own, believable data, the demo's set-up.
    #[command(subcommand)]
    Dev(dev::Dev),
}

/// What every command's exit code says, where its own help says nothing else.
const CODES: &str = "\
Exit codes:
  0    it went well
  1    the answer is no: a run failed, a check found something
  2    the question was wrong: usage, configuration
  3    the machine, the network or the forge is at fault
  141  whoever read the output stopped reading";

/// Where the appliance keeps its configuration.
const USUAL_CONFIG: &str = "/etc/cc-ci/config.yaml";

/// Who does what is done here, as audit and pages call it.
const ACTOR: &str = "the command line";

/// What every command on an appliance takes. clap would read the variable as if it were an option, and refuse `--state` or
/// `--dev` beside it, so it is read here.
#[derive(Clone, Debug, Args)]
pub(crate) struct Configured {
    /// The configuration file; where none is named the one in CC_CI_CONFIG, or /etc/cc-ci/config.yaml.
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Configured {
    fn path(&self) -> PathBuf {
        let named = || std::env::var_os("CC_CI_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from);
        self.config.clone().or_else(named).unwrap_or_else(|| USUAL_CONFIG.into())
    }

    pub(crate) fn load(&self) -> Result<Config, Failure> {
        config::load(&self.path()).map_err(|error| self.cured(error))
    }

    /// For what reads no secret, or says itself which of them it misses.
    pub(crate) fn load_without_secrets(&self) -> Result<Config, Failure> {
        config::load_without_secrets(&self.path()).map_err(|error| self.cured(error))
    }

    /// Who named no file may not know that there has to be one.
    fn cured(&self, error: ConfigError) -> Failure {
        if matches!(error, ConfigError::Unreadable { .. }) && self.path() == Path::new(USUAL_CONFIG) {
            let cure = "; name the configuration with --config FILE or in CC_CI_CONFIG";
            return Failure::usage(anyhow::anyhow!("{}{cure}", causes(&error)));
        }
        Failure::usage(error)
    }
}

/// Why a command did not do what it was asked, and with which exit code it says so.
#[derive(Debug)]
pub struct Failure {
    pub code: u8,
    pub error: anyhow::Error,
}

impl Failure {
    pub fn no(error: impl Into<anyhow::Error>) -> Failure {
        Failure { code: 1, error: error.into() }
    }

    pub fn usage(error: impl Into<anyhow::Error>) -> Failure {
        Failure { code: 2, error: error.into() }
    }

    pub fn infra(error: impl Into<anyhow::Error>) -> Failure {
        Failure { code: 3, error: error.into() }
    }
}

/// A fault that nobody classified is the machine's.
impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Failure {
        Failure::infra(error)
    }
}

impl From<crate::store::StoreError> for Failure {
    fn from(error: crate::store::StoreError) -> Failure {
        Failure::infra(error)
    }
}

pub type Done = Result<ExitCode, Failure>;

/// The command line; each command's help says what its exit code means, or where that is said.
fn command() -> clap::Command {
    fn told(command: clap::Command) -> clap::Command {
        let texts = [command.get_about(), command.get_after_help()].map(|text| text.map(ToString::to_string));
        let is_told = texts.iter().flatten().any(|text| text.contains("xit code"));
        let command = if is_told || command.has_subcommands() {
            command
        } else {
            let before = texts[1].as_ref().map(|text| format!("{text}\n\n")).unwrap_or_default();
            command.after_help(format!("{before}Exit codes: as `cc-ci --help` has them."))
        };
        command.mut_subcommands(told)
    }
    told(Cli::command())
}

/// Reads the command line and does what it says.
pub fn main() -> ExitCode {
    let asked = command().try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches));
    let code = match asked {
        Ok(cli) => dispatch(cli.command).unwrap_or_else(|failure| {
            crate::aside!("cc-ci: {}", causes(failure.error.as_ref()));
            ExitCode::from(failure.code)
        }),
        Err(answer) => {
            answer.print().unwrap_or_else(say::lose);
            u8::try_from(answer.exit_code()).unwrap_or(2).into()
        }
    };
    say::ended(code)
}

fn dispatch(command: Command) -> Done {
    match command {
        Command::Up(up) => process::up(up),
        Command::Serve(configured) => process::serve(&configured),
        Command::Runner(configured) => process::runner(&configured),
        Command::Run(arguments) => process::on_runtime(2, async {
            local::run(arguments).await.map_err(|not_run| match not_run {
                NotRun::Usage(_) => Failure::usage(not_run),
                NotRun::Machine(_) => Failure::infra(not_run),
                NotRun::Ended => Failure::no(not_run),
            })
        }),
        Command::Doctor(asked) => process::on_runtime(2, doctor::doctor(asked)),
        Command::CheckConfig { file, without_secrets } => check_config(&file, without_secrets),
        Command::Runs(command) => process::on_runtime(1, runs::runs(command)),
        Command::Queue(asked) => process::on_runtime(1, look::queue(asked)),
        Command::Recipes(asked) => process::on_runtime(1, look::recipes(asked)),
        Command::Decisions(asked) => process::on_runtime(1, look::decisions(asked)),
        Command::Hosts(asked) => process::on_runtime(1, look::hosts(asked)),
        Command::Janitor(janitor) => process::on_runtime(2, janitor::janitor(janitor)),
        Command::Trigger(trigger) => process::on_runtime(2, trigger::trigger(trigger)),
        Command::Token(command) => process::on_runtime(1, token::token(command)),
        Command::Audit(command) => process::on_runtime(1, audit::audit(command)),
        Command::Notify(command) => process::on_runtime(1, notify::notify(command)),
        Command::Db(command) => db::db(command),
        Command::Reconcile(what) => process::on_runtime(2, reconcile::reconcile(what)),
        Command::Secrets(command) => secrets::secrets(command),
        Command::Lint(lint) => process::on_runtime(2, lint::lint(lint)),
        Command::Validate(validate) => process::on_runtime(2, validate::validate(validate)),
        Command::Enroll(enroll) => enroll::enroll(&enroll),
        Command::Policy(asked) => policy::policy(&asked),
        Command::Top(top) => process::on_runtime(2, top::top(top)),
        Command::Completions { shell } => shell::completions(shell),
        Command::Man(asked) => shell::man(&asked),
        Command::Abra { arguments } => Ok(crate::abra::embedded::main(arguments)),
        Command::Dev(command) => dev::dev(command),
    }
}

fn check_config(file: &Path, without_secrets: bool) -> Done {
    let load = if without_secrets { config::load_without_secrets } else { config::load };
    let config = load(file).map_err(Failure::usage)?;
    crate::say!("{}: good; apps live under *.{}, recipes on {}", file.display(), config.domain, config.forge.url);
    Ok(ExitCode::SUCCESS)
}

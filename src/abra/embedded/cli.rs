//! The command line: abra's words, so that `--help` says to a probe what can be done.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use super::home::Home;
use super::say::Say;
use super::{Done, app, backup, deploy, list, recipes, secrets, volumes};

/// In abra's form; there is no commit of abra behind this one.
const VERSION: &str = "abra version 0.13.0-beta-0000000";

/// The Co-op Cloud command line, in the subset that cc-ci needs. Built into cc-ci.
#[derive(Debug, Parser)]
#[command(name = "abra", disable_version_flag = true, disable_help_subcommand = true, max_term_width = 100)]
pub(super) struct Cli {
    #[command(flatten)]
    pub flags: Flags,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Clone, Copy, Debug, Args)]
pub(super) struct Flags {
    /// Ask nothing.
    #[arg(short = 'n', long, global = true)]
    pub no_input: bool,
    /// Use no network for recipes.
    #[arg(short = 'o', long, global = true)]
    pub offline: bool,
    /// Say more.
    #[arg(short, long, global = true)]
    pub debug: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Manage apps
    #[command(subcommand, visible_alias = "a")]
    App(App),
    /// Manage recipes
    #[command(subcommand, visible_alias = "r")]
    Recipe(Recipe),
    /// Manage servers
    #[command(subcommand, visible_alias = "s")]
    Server(Server),
}

#[derive(Debug, Subcommand)]
pub(super) enum App {
    /// Create a new app
    New(New),
    /// Deploy an app
    Deploy(Deploy),
    /// Undeploy an app; volumes and secrets stay
    Undeploy(Undeploy),
    /// Show what an app runs
    Ps(Ps),
    /// List all apps
    #[command(visible_alias = "list")]
    Ls(AppLs),
    /// Manage app secrets
    #[command(subcommand)]
    Secret(Secret),
    /// Manage app volumes
    #[command(subcommand)]
    Volume(Volume),
    /// Manage app backups
    #[command(subcommand)]
    Backup(Backup),
    /// Restore an app's backup
    Restore(Restore),
}

#[derive(Debug, Args)]
pub(super) struct New {
    pub recipe: Option<String>,
    /// A version of the recipe, or a commit of it
    pub version: Option<String>,
    /// The server it is for
    #[arg(short, long)]
    pub server: Option<String>,
    /// Its domain
    #[arg(short = 'D', long)]
    pub domain: Option<String>,
    /// Generate its secrets and show them
    #[arg(short = 'S', long)]
    pub secrets: bool,
    /// Store generated secrets in pass
    #[arg(short, long)]
    pub pass: bool,
    /// Use the recipe as it lies there
    #[arg(short = 'C', long)]
    pub chaos: bool,
}

#[derive(Debug, Args)]
pub(super) struct Deploy {
    pub domain: String,
    /// A version of the recipe, or a commit of it
    pub version: Option<String>,
    /// Deploy the recipe as it lies there
    #[arg(short = 'C', long)]
    pub chaos: bool,
    /// Deploy though it is deployed
    #[arg(short, long)]
    pub force: bool,
    /// Look up no domain names
    #[arg(short = 'D', long)]
    pub no_domain_checks: bool,
    /// Do not wait until it runs
    #[arg(short = 'c', long)]
    pub no_converge_checks: bool,
    /// Deploy the newest version, whatever the app's configuration says
    #[arg(short, long)]
    pub latest: bool,
}

#[derive(Debug, Args)]
pub(super) struct Undeploy {
    pub domain: String,
}

#[derive(Debug, Args)]
pub(super) struct Ps {
    pub domain: String,
    #[command(flatten)]
    pub machine: Machine,
}

#[derive(Debug, Args)]
pub(super) struct AppLs {
    /// Ask the servers what is deployed
    #[arg(short = 'S', long)]
    pub status: bool,
    /// Apps of this recipe only
    #[arg(short, long)]
    pub recipe: Option<String>,
    /// Apps on this server only
    #[arg(short, long)]
    pub server: Option<String>,
    #[command(flatten)]
    pub machine: Machine,
}

#[derive(Clone, Copy, Debug, Args)]
pub(super) struct Machine {
    /// Print JSON
    #[arg(short, long)]
    pub machine: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum Secret {
    /// Generate secrets
    Generate(Generate),
    /// Insert a secret: its data, a file with -f, or standard input
    Insert(Insert),
    /// Remove a secret
    #[command(visible_alias = "remove")]
    Rm(SecretRm),
    /// List all secrets
    #[command(visible_alias = "list")]
    Ls(SecretLs),
}

#[derive(Debug, Args)]
pub(super) struct Generate {
    pub domain: String,
    pub secret: Option<String>,
    pub version: Option<String>,
    /// Generate all secrets
    #[arg(short, long)]
    pub all: bool,
    /// Store generated secrets in pass
    #[arg(short, long)]
    pub pass: bool,
    /// Use the recipe as it lies there
    #[arg(short = 'C', long)]
    pub chaos: bool,
    #[command(flatten)]
    pub machine: Machine,
}

#[derive(Debug, Args)]
pub(super) struct Insert {
    pub domain: String,
    pub secret: String,
    pub version: String,
    pub data: Option<OsString>,
    /// The data is the path of a file
    #[arg(short, long)]
    pub file: bool,
    /// Cut blanks and line ends off both sides
    #[arg(short, long)]
    pub trim: bool,
    /// Use the recipe as it lies there
    #[arg(short = 'C', long)]
    pub chaos: bool,
}

#[derive(Debug, Args)]
pub(super) struct SecretRm {
    pub domain: String,
    pub secret: Option<String>,
    /// Remove all secrets
    #[arg(short, long)]
    pub all: bool,
    /// Use the recipe as it lies there
    #[arg(short = 'C', long)]
    pub chaos: bool,
}

#[derive(Debug, Args)]
pub(super) struct SecretLs {
    pub domain: String,
    /// Use the recipe as it lies there
    #[arg(short = 'C', long)]
    pub chaos: bool,
    #[command(flatten)]
    pub machine: Machine,
}

#[derive(Debug, Subcommand)]
pub(super) enum Volume {
    /// List volumes of an app
    #[command(visible_alias = "list")]
    Ls { domain: String },
    /// Remove volumes of an app: one, or with -n all
    #[command(visible_alias = "remove")]
    Rm {
        domain: String,
        volume: Option<String>,
        /// Ask nothing
        #[arg(short, long)]
        force: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Backup {
    /// Create a new snapshot
    Create {
        domain: String,
        /// How often to try
        #[arg(short, long)]
        retries: Option<u32>,
    },
    /// List the contents of a snapshot
    #[command(visible_alias = "ls")]
    List(ListBackups),
    /// List all snapshots
    Snapshots { domain: String },
    /// Download a snapshot
    Download(Download),
}

#[derive(Debug, Args)]
pub(super) struct ListBackups {
    pub domain: String,
    /// Of this snapshot instead of the latest
    #[arg(short, long)]
    pub snapshot: Option<String>,
    /// Below this path only
    #[arg(short, long)]
    pub path: Option<String>,
    /// Everything in it
    #[arg(short, long)]
    pub all: bool,
    /// With the time of each file
    #[arg(short, long)]
    pub timestamps: bool,
}

#[derive(Debug, Args)]
pub(super) struct Download {
    pub domain: String,
    /// This snapshot instead of the latest
    #[arg(short, long)]
    pub snapshot: Option<String>,
    /// This path of it only
    #[arg(short = 'i', long)]
    pub path: Option<String>,
    /// Its secrets
    #[arg(long)]
    pub secrets: bool,
    /// Its volumes
    #[arg(long)]
    pub volumes: bool,
}

#[derive(Debug, Args)]
pub(super) struct Restore {
    pub domain: String,
    /// From this snapshot instead of the latest
    #[arg(short, long)]
    pub snapshot: Option<String>,
    /// Below this path of the backup service's container
    #[arg(short, long)]
    pub target: Option<String>,
    /// Run the restore hooks too
    #[arg(short = 'H', long)]
    pub hooks: bool,
    /// These volumes only, separated by commas
    #[arg(short, long)]
    pub volumes: Option<String>,
    /// Hooks of this service only
    #[arg(short, long)]
    pub container: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Recipe {
    /// Clone a recipe
    Fetch {
        recipe: Option<String>,
        /// All recipes of the catalogue
        #[arg(short, long)]
        all: bool,
        /// Fetch though it is there
        #[arg(short, long)]
        force: bool,
    },
    /// Check a recipe; what is found does not change the exit code
    Lint {
        recipe: String,
        /// Use the recipe as it lies there
        #[arg(short = 'C', long)]
        chaos: bool,
    },
    /// List the versions of a recipe
    Versions {
        recipe: String,
        #[command(flatten)]
        machine: Machine,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Server {
    /// Add a server
    Add {
        domain: Option<String>,
        /// This machine
        #[arg(short, long)]
        local: bool,
    },
    /// List all servers
    #[command(visible_alias = "list")]
    Ls {
        #[command(flatten)]
        machine: Machine,
    },
}

impl Command {
    /// Whether standard output is for JSON.
    pub(super) fn is_machine(&self) -> bool {
        match self {
            Command::App(
                App::Ps(Ps { machine, .. })
                | App::Ls(AppLs { machine, .. })
                | App::Secret(Secret::Generate(Generate { machine, .. }) | Secret::Ls(SecretLs { machine, .. })),
            )
            | Command::Recipe(Recipe::Versions { machine, .. })
            | Command::Server(Server::Ls { machine }) => machine.machine,
            _ => false,
        }
    }
}

/// Reads the command line; an answer to `--version` or `--help`, or a complaint, ends it here.
pub(super) fn parse(args: Vec<OsString>) -> Result<Cli, ExitCode> {
    let say = Say::new(false, false);
    if args.first().is_some_and(|first| first == "--version" || first == "-v") {
        say.print(VERSION);
        return Err(ExitCode::SUCCESS);
    }
    let args = [OsString::from("abra")].into_iter().chain(args);
    Cli::try_parse_from(args).map_err(|error| {
        if error.use_stderr() {
            let text = error.to_string();
            say.fatal(text.trim_start_matches("error: ").trim_end());
            ExitCode::FAILURE
        } else {
            say.print(error.to_string().trim_end());
            ExitCode::SUCCESS
        }
    })
}

pub(super) fn run(cli: Cli, say: Say) -> Done {
    let home = Home::open(cli.flags)?;
    match cli.command {
        Command::App(App::New(new)) => app::new(&home, say, &new),
        Command::App(App::Deploy(deploy)) => deploy::deploy(&home, say, &deploy),
        Command::App(App::Undeploy(undeploy)) => deploy::undeploy(&home, say, &undeploy.domain),
        Command::App(App::Ps(ps)) => list::ps(&home, say, &ps),
        Command::App(App::Ls(ls)) => list::apps(&home, say, &ls),
        Command::App(App::Secret(Secret::Generate(generate))) => secrets::generate(&home, say, &generate),
        Command::App(App::Secret(Secret::Insert(insert))) => secrets::insert(&home, say, &insert),
        Command::App(App::Secret(Secret::Rm(rm))) => secrets::rm(&home, say, &rm),
        Command::App(App::Secret(Secret::Ls(ls))) => secrets::ls(&home, say, &ls),
        Command::App(App::Volume(Volume::Ls { domain })) => volumes::ls(&home, say, &domain),
        Command::App(App::Volume(Volume::Rm { domain, volume, force })) => {
            volumes::rm(&home, say, &domain, volume.as_deref(), force)
        }
        Command::App(App::Backup(Backup::Create { domain, .. })) => backup::create(&home, &domain),
        Command::App(App::Backup(Backup::List(list))) => backup::list(&home, &list),
        Command::App(App::Backup(Backup::Snapshots { domain })) => backup::snapshots(&home, &domain),
        Command::App(App::Backup(Backup::Download(download))) => backup::download(&home, say, &download),
        Command::App(App::Restore(restore)) => backup::restore(&home, &restore),
        Command::Recipe(Recipe::Fetch { recipe, all, force }) => {
            recipes::fetch(&home, say, recipe.as_deref(), all, force)
        }
        Command::Recipe(Recipe::Lint { recipe, chaos }) => recipes::lint(&home, say, &recipe, chaos),
        Command::Recipe(Recipe::Versions { recipe, machine }) => {
            recipes::versions(&home, say, &recipe, machine.machine)
        }
        Command::Server(Server::Add { domain, local }) => list::server_add(&home, say, domain.as_deref(), local),
        Command::Server(Server::Ls { machine }) => list::servers(&home, say, machine.machine),
    }
}

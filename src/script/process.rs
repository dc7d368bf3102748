//! The process with the scripts, from outside: it is started in its cage, handed the scripts, and heard on what they register.

use std::io;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::api::MOST_PROBLEMS;
use super::clean::brief;
use super::host::NoScripts;
use super::kit::Kit;
use super::limits::{Limit, Limits, Reached};
use super::wire::{FROM_CHILD, FromChild, Problem, Registered, TO_CHILD, ToChild};
use super::{Script, child};
use crate::sandbox::bubblewrap::{Cage, Inside, PROGRAM, PrivateDir, Software, argv};
use crate::sandbox::frame::{receive, send};

/// How long past its limit a child may take to say so itself.
pub(super) const GRACE: Duration = Duration::from_secs(2);
/// The longest a child may live; the engine's own limits come first.
const LIFE: Duration = Duration::from_secs(6 * 3600);

/// The process with the scripts.
pub(super) struct Child {
    pub(super) stream: UnixStream,
    pub(super) cage: Cage,
}

impl Child {
    pub(super) async fn start(kit: &Kit, cancel: &CancellationToken) -> Result<Child, NoScripts> {
        let inside = Inside {
            software: Software::Libraries,
            argv: argv([PROGRAM, child::WORD]),
            env: Vec::new(),
            sockets: Vec::new(),
            shown: Vec::new(),
            tmp: 1 << 16,
            limit: LIFE,
        };
        let (cage, stream) = Cage::open(&kit.bubblewrap, PrivateDir::make()?, inside, cancel).await?;
        Ok(Child { stream, cage })
    }

    /// What is behind an error of the socket: mostly the child's end.
    pub(super) async fn why(&mut self, fault: io::Error) -> NoScripts {
        match fault.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::Other => NoScripts::Protocol(brief(&fault.to_string())),
            _ => match timeout(GRACE, self.cage.ended()).await {
                Ok(fault) => fault.into(),
                Err(_) => NoScripts::Protocol(brief(&fault.to_string())),
            },
        }
    }
}

/// Hands the scripts over, and hears what they register.
pub(super) async fn load(
    stream: &mut UnixStream,
    scripts: &[Script],
    limits: Limits,
    fennel: Option<String>,
) -> io::Result<(Vec<Vec<Registered>>, Vec<Problem>)> {
    let names = scripts.iter().map(|script| script.name.clone()).collect();
    tell(stream, &ToChild::Begin { limits, scripts: names, fennel }).await?;
    for (number, script) in scripts.iter().enumerate() {
        let own = script.name[script.directory().len()..].to_owned();
        let own = std::iter::once((own, script.text.clone()));
        for (path, text) in own.chain(script.modules.clone()) {
            tell(stream, &ToChild::File { script: number, path, text }).await?;
        }
    }
    tell(stream, &ToChild::Define).await?;
    let (mut registered, mut problems) = (Vec::new(), Vec::new());
    for script in scripts {
        match timeout(limits.loading + GRACE, next(stream)).await {
            Ok(came) => {
                let (jobs, wrong) = came?;
                registered.push(jobs);
                problems.extend(wrong);
            }
            Err(_) => {
                // The scripts after it are judged when it is mended.
                problems.push(never_ends(script, limits));
                registered.resize(scripts.len(), Vec::new());
                break;
            }
        }
    }
    Ok((registered, problems))
}

/// What the next script registers.
async fn next(stream: &mut UnixStream) -> io::Result<(Vec<Registered>, Vec<Problem>)> {
    loop {
        match receive(stream, FROM_CHILD).await? {
            // One more is what ended it.
            FromChild::Script { problems, .. } if problems.len() > MOST_PROBLEMS + 1 => {
                return Err(broken("more problems than anybody reads"));
            }
            FromChild::Script { jobs, problems } => return Ok((jobs, problems)),
            // What scripts print while they are loaded is dropped: there is no job it belongs to.
            FromChild::Log(_) => {}
            // Tools are for jobs.
            FromChild::Ask(_) => tell(stream, &ToChild::Answer(Err("tools can be used by jobs only".into()))).await?,
            FromChild::Done(_) => return Err(broken("a job ended while scripts were loaded")),
        }
    }
}

/// What never comes back to an instruction cannot say itself where it is.
fn never_ends(script: &Script, limits: Limits) -> Problem {
    Problem {
        file: script.name.clone(),
        line: 1,
        message: format!("while it was loaded, {}", Reached(Limit::Time, limits.of_loading())),
        cure: "look for a pattern that takes for ever".into(),
    }
}

async fn tell(stream: &mut UnixStream, word: &ToChild) -> io::Result<()> {
    send(stream, TO_CHILD, word).await
}

pub(super) fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.chars().take(300).collect::<String>())
}

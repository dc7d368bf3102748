//! Data that has to survive: written by cc-ci before something is done to an app, and looked for after it. Which, `choose` says.
//!
//! Files go through Docker's archive call, so an image without a shell has its marker too; rows through the database's own
//! client in its container, with user, database and password as the image's variables say; objects through the proxy, as the
//! app's users would send them. Each marker has a value of its own that nobody can have made before.

mod choose;
mod object;

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::choose::Place;
pub use self::choose::{Astray, Choice, Marker, choose};
use super::deploy::Deployed;
use super::{Job, Made, Trouble};
use crate::engine::run::checked;
use crate::model::{CheckState, StageName};
use crate::recipe::database::Engine;
use crate::store::stages::Check;
use crate::swarm::SwarmFault;
use crate::swarm::exec::{Exec, ExecEnded};

/// A database that is healthy answers at once; one without a health check may still be starting.
const ANSWERS: Duration = Duration::from_secs(60);
const AGAIN: Duration = Duration::from_millis(250);
const COMMAND: Duration = Duration::from_secs(20);
const MOST: usize = 4 << 10;
const DAMAGED: &str = "damaged by cc-ci";

/// What was written, each with its value.
#[derive(Clone, Debug, Default)]
pub struct Planted {
    pub markers: Vec<(Marker, String)>,
    /// Declared, and not written: why.
    pub refused: Vec<String>,
    name: String,
}

/// What a look at a marker came to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Look {
    There,
    /// In words that go on from the marker's name.
    Lost(String),
}

/// Writes the markers, each a check row. One that cannot be written is left out, with the reason.
pub async fn plant(
    job: &Job,
    cancel: &CancellationToken,
    stage: StageName,
    deployed: &Deployed,
    choice: &Choice,
) -> Result<Planted, Trouble> {
    let name = format!("cc-ci-marker-{}", job.run.id);
    let mut planted = Planted { name, ..Planted::default() };
    for why in &choice.homeless {
        let (name, state) = (format!("declared marker: {why}"), CheckState::Skipped);
        job.check(Check { stage, name, state, expected: Some("written".to_owned()), got: None, took: None }).await?;
        planted.refused.push(why.clone());
    }
    for marker in &choice.markers {
        let began = Instant::now();
        let value = value()?;
        let at = At { job, cancel, made: &deployed.made, name: &planted.name };
        let name = format!("marker: {}", marker.shown());
        match at.write(marker, &value).await? {
            Ok(()) => {
                job.check(checked(stage, &name, true, "written", "written", began.elapsed())).await?;
                planted.markers.push((marker.clone(), value));
            }
            Err(_) if matches!(marker, Marker::File { place: Place::Part, .. }) => {}
            Err(why) => {
                if choice.declared.contains(marker) {
                    planted.refused.push(format!("{}: {why}", marker.shown()));
                }
                // Of a database that takes no row nothing is proved.
                let is_row = matches!(marker, Marker::Row { .. });
                let state = if is_row { CheckState::Warning } else { CheckState::Skipped };
                let (expected, took) = (Some("written".to_owned()), Some(began.elapsed()));
                job.check(Check { stage, name, state, expected, got: Some(why), took }).await?;
            }
        }
    }
    Ok(planted)
}

/// Looks for all of them, each a check row. `when` goes on from "the file in volume data was gone": `after the upgrade`.
pub async fn look(
    job: &Job,
    cancel: &CancellationToken,
    stage: StageName,
    deployed: &Deployed,
    planted: &Planted,
    when: &str,
) -> Result<(), Trouble> {
    let mut lost = Vec::new();
    for (marker, value) in &planted.markers {
        let began = Instant::now();
        let at = At { job, cancel, made: &deployed.made, name: &planted.name };
        let looked = at.read(marker, value).await?;
        let got = match &looked {
            Look::There => "there, as it was written".to_owned(),
            Look::Lost(how) => how.clone(),
        };
        let well = looked == Look::There;
        let name = format!("{} {when}", marker.shown());
        job.check(checked(stage, &name, well, "as it was written", &got, began.elapsed())).await?;
        if !well {
            lost.push(format!("the marker ({}) was {got} {when}", marker.shown()));
        }
    }
    match lost.len() {
        0 => Ok(()),
        1 => Err(Trouble::Recipe(lost.remove(0))),
        more => Err(Trouble::Recipe(format!("{} (and {} more)", lost[0], more - 1))),
    }
}

/// Changes files and deletes rows, and makes sure that this is so: otherwise nothing would be proved by their coming back.
pub async fn damage(
    job: &Job,
    cancel: &CancellationToken,
    stage: StageName,
    deployed: &Deployed,
    planted: &Planted,
) -> Result<(), Trouble> {
    let began = Instant::now();
    for (marker, value) in &planted.markers {
        let at = At { job, cancel, made: &deployed.made, name: &planted.name };
        let done = match marker {
            Marker::File { .. } | Marker::Object(_) => at.write(marker, DAMAGED).await?,
            Marker::Row { service, engine, .. } => {
                let delete = format!("delete from cc_ci_marker where name = '{}';", planted.name);
                at.sql(service, *engine, &delete).await?.map(drop)
            }
        };
        let is_lost = matches!(at.read(marker, value).await?, Look::Lost(_));
        if done.is_err() || !is_lost {
            let why = done.err().unwrap_or_else(|| "it is as it was".to_owned());
            return Err(Trouble::Infra(format!("the marker ({}) could not be damaged: {why}", marker.shown())));
        }
    }
    let got = format!("{} damaged", planted.markers.len());
    job.check(checked(stage, "markers damaged", true, "all of them", &got, began.elapsed())).await
}

/// Takes away what was written, as far as it goes: the app's data goes with the app in any case.
pub async fn remove(
    job: &Job,
    cancel: &CancellationToken,
    stage: StageName,
    deployed: &Deployed,
    planted: &Planted,
) -> Result<(), Trouble> {
    for (marker, _) in &planted.markers {
        let at = At { job, cancel, made: &deployed.made, name: &planted.name };
        let done = match marker {
            Marker::Row { service, engine, .. } => {
                at.sql(service, *engine, "drop table if exists cc_ci_marker;").await?.map(drop)
            }
            Marker::File { service, folder, place, .. } => at.remove_file(service, folder, at.file_name(place)).await?,
            Marker::Object(object) => at.take_back(object).await?,
        };
        if let Err(why) = done {
            job.say(stage, &format!("the marker ({}) stays: {why}", marker.shown()));
        }
    }
    Ok(())
}

fn value() -> Result<String, Trouble> {
    let mut bytes = [0; 12];
    getrandom::fill(&mut bytes)
        .map_err(|error| Trouble::Infra(format!("the system gives no random numbers: {error}")))?;
    Ok(format!("cc-ci-{}", hex::encode(bytes)))
}

/// Where the markers of one run are.
struct At<'a> {
    job: &'a Job,
    cancel: &'a CancellationToken,
    made: &'a Made,
    name: &'a str,
}

impl At<'_> {
    async fn container(&self, service: &str) -> Result<Result<String, String>, Trouble> {
        let found = self.job.swarm.container_of(&self.made.stack, service).await?;
        Ok(found.ok_or_else(|| format!("no container of {service} runs")))
    }

    /// Not hidden: whoever empties a folder by `*` spares what begins with a dot.
    fn file_name<'m>(&'m self, place: &'m Place) -> &'m str {
        match place {
            Place::Path(path) => path.rsplit('/').next().unwrap_or(path),
            Place::Whole | Place::Part => self.name,
        }
    }

    /// The inner error says why it cannot be written there.
    async fn write(&self, marker: &Marker, value: &str) -> Result<Result<(), String>, Trouble> {
        match marker {
            Marker::File { service, folder, place, .. } => {
                let container = match self.container(service).await? {
                    Ok(container) => container,
                    Err(why) => return Ok(Err(why)),
                };
                let written =
                    self.job.swarm.put_file(&container, folder, self.file_name(place), value.as_bytes()).await;
                match written {
                    Ok(()) => Ok(Ok(())),
                    Err(fault) if is_an_answer(&fault) => Ok(Err(format!("{folder} is no folder that takes a file"))),
                    Err(fault) => Err(fault.into()),
                }
            }
            Marker::Row { service, engine, .. } => {
                let name = self.name;
                let insert = format!(
                    "create table if not exists cc_ci_marker (name varchar(64) primary key, value varchar(64));\n\
                     delete from cc_ci_marker where name = '{name}';\n\
                     insert into cc_ci_marker (name, value) values ('{name}', '{value}');\n"
                );
                Ok(self.sql(service, *engine, &insert).await?.map(drop))
            }
            Marker::Object(object) => self.send(object, value).await,
        }
    }

    async fn read(&self, marker: &Marker, value: &str) -> Result<Look, Trouble> {
        let found = match marker {
            Marker::Object(object) => return self.look_up(object, value).await,
            Marker::File { service, folder, place, .. } => {
                let container = match self.container(service).await? {
                    Ok(container) => container,
                    Err(why) => return Ok(Look::Lost(format!("out of reach ({why})"))),
                };
                let path = format!("{}/{}", folder.trim_end_matches('/'), self.file_name(place));
                let read = self.job.swarm.file(&container, &path, MOST).await?;
                read.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            }
            Marker::Row { service, engine, .. } => {
                let select = format!("select value from cc_ci_marker where name = '{}';", self.name);
                match self.sql(service, *engine, &select).await? {
                    Ok(said) => Some(said.trim().to_owned()).filter(|said| !said.is_empty()),
                    Err(why) if is_no_table(&why) => None,
                    Err(why) => return Ok(Look::Lost(format!("out of reach ({why})"))),
                }
            }
        };
        Ok(match found {
            None => Look::Lost("gone".to_owned()),
            Some(found) if found == value => Look::There,
            Some(_) => Look::Lost("not what was written".to_owned()),
        })
    }

    /// What the database answered, or why it did not: one that is starting is asked again.
    async fn sql(&self, service: &str, engine: Engine, statements: &str) -> Result<Result<String, String>, Trouble> {
        let deadline = Instant::now() + ANSWERS;
        loop {
            let said = match self.container(service).await? {
                Ok(container) => self.run(&container, engine.client(), Some(statements)).await?,
                Err(why) => Err(why),
            };
            match said {
                Err(why) if !is_no_table(&why) && is_starting(&why) && Instant::now() < deadline => {
                    tokio::time::sleep(AGAIN).await;
                }
                said => return Ok(said),
            }
        }
    }

    async fn remove_file(&self, service: &str, folder: &str, name: &str) -> Result<Result<(), String>, Trouble> {
        let container = match self.container(service).await? {
            Ok(container) => container,
            Err(why) => return Ok(Err(why)),
        };
        let path = format!("{}/{name}", folder.trim_end_matches('/'));
        let exec = Exec { user: Some("0".to_owned()), ..Exec::new(["rm", "-f", path.as_str()]) };
        Ok(self.exec(&container, &exec).await?.map(drop))
    }

    async fn run(&self, container: &str, script: &str, stdin: Option<&str>) -> Result<Result<String, String>, Trouble> {
        let exec = Exec { stdin: stdin.map(|text| text.as_bytes().to_vec()), ..Exec::new(["sh", "-c", script]) };
        self.exec(container, &exec).await
    }

    async fn exec(&self, container: &str, exec: &Exec) -> Result<Result<String, String>, Trouble> {
        let done = match self.job.swarm.exec(container, exec, COMMAND, MOST, self.cancel).await {
            Ok(done) => done,
            // It stopped in between.
            Err(fault) if is_an_answer(&fault) => return Ok(Err(fault.to_string())),
            Err(fault) => return Err(fault.into()),
        };
        match done.ended {
            ExecEnded::Exit(0) => Ok(Ok(String::from_utf8_lossy(&done.stdout).into_owned())),
            ExecEnded::Exit(code) => {
                let said = [String::from_utf8_lossy(&done.stderr), String::from_utf8_lossy(&done.stdout)].concat();
                let said: Vec<&str> = said.split_whitespace().collect();
                let said: String = said.join(" ").chars().take(300).collect();
                Ok(Err(if said.is_empty() { format!("it ended with {code}") } else { said }))
            }
            ExecEnded::Limit { .. } => Ok(Err(format!("no answer within {} s", COMMAND.as_secs()))),
            ExecEnded::Cancelled { .. } => Err(Trouble::Ended),
        }
    }
}

/// Docker did what it could, and the container is not as it would have to be.
fn is_an_answer(fault: &SwarmFault) -> bool {
    fault.is_gone() || matches!(fault.why, crate::swarm::client::Why::Refused { status, .. } if status < 500)
}

fn is_no_table(why: &str) -> bool {
    why.contains("cc_ci_marker") && (why.contains("does not exist") || why.contains("doesn't exist"))
}

fn is_starting(why: &str) -> bool {
    [
        "no container of",
        "starting up",
        "shutting down",
        "onnection refused",
        "No such file",
        "an't connect",
        "is not running",
    ]
    .iter()
    .any(|part| why.contains(part))
}

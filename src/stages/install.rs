//! The head, deployed afresh: what a new user of the recipe would see.

use tokio_util::sync::CancellationToken;

use super::picture::Picture;
use super::{Done, Job, Learned, Trouble, deploy, needs};
use crate::model::StageName;

pub async fn install(job: &Job, cancel: &CancellationToken, learned: &mut Learned) -> Result<Done, Trouble> {
    needs::stand(job, cancel, StageName::Install, learned).await?;
    let head = learned.head(job)?;
    let deployed = deploy::fresh(job, cancel, StageName::Install, learned, &head).await?;
    let done = Done { note: Some(deployed.note.clone()), waited: deployed.waited };
    learned.picture = job.config.runner.picture.then(|| Picture::of(job, &deployed, cancel));
    learned.deployed = Some(deployed);
    Ok(done)
}

//! The picture of the app's front page, taken after the install. A browser takes seconds to start, so it is taken while the
//! checks go on, which change nothing that it shows; whatever would disturb it waits for it.
//!
//! It never changes a verdict: no browser, a page that does not load, a picture that is too large are lines in the log.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Job;
use super::deploy::Deployed;
use crate::config::Proxy;
use crate::evidence::Evidence;
use crate::logs::Log;
use crate::model::{AppDomain, EvidenceKind, StageName};
use crate::probe::browser::{Kit, Site, front_page};

/// What the picture is called among the evidence.
pub const NAME: &str = "front-page.png";
const STAGE: StageName = StageName::Install;
/// The whole of it; a browser that starts on a busy machine takes some seconds.
const PATIENCE: Duration = Duration::from_secs(45);

/// A picture that is being taken.
#[derive(Debug)]
pub struct Picture {
    taking: JoinHandle<()>,
    given_up: CancellationToken,
}

impl Picture {
    /// Begins to take one.
    pub(super) fn of(job: &Job, app: &Deployed, cancel: &CancellationToken) -> Picture {
        let given_up = cancel.child_token();
        let proxy = job.config.proxy.clone();
        let taking =
            tokio::spawn(take(proxy, app.made.domain.clone(), job.evidence.clone(), job.log.clone(), given_up.clone()));
        Picture { taking, given_up }
    }

    /// Waits until it is taken, or cannot be.
    pub async fn taken(mut self) {
        // It ends by its own limits; this is for a fault in them.
        let _ = tokio::time::timeout(PATIENCE * 2, &mut self.taking).await;
    }
}

impl Drop for Picture {
    fn drop(&mut self) {
        self.given_up.cancel();
    }
}

async fn take(proxy: Proxy, domain: AppDomain, evidence: Evidence, log: Log, cancel: CancellationToken) {
    let kit = match Kit::find() {
        Ok(kit) => kit,
        Err(missing) => return log.line(STAGE, &format!("no picture of the front page: {missing}")),
    };
    let taking = async {
        let site = Site::behind(&proxy, vec![domain]).await?;
        front_page(&kit, &site, &cancel).await
    };
    let came = tokio::select! {
        came = tokio::time::timeout(PATIENCE, taking) => came,
        () = cancel.cancelled() => return,
    };
    match came {
        Ok(Ok(png)) => evidence.put(STAGE, NAME, EvidenceKind::Picture, png).await,
        Ok(Err(trouble)) => log.line(STAGE, &format!("no picture of the front page: {trouble}")),
        Err(_) => log.line(STAGE, &format!("no picture of the front page within {} s", PATIENCE.as_secs())),
    }
}

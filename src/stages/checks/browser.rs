//! The browser of checks and scripts, started with its first step: most recipes never need it. Without one there is no answer,
//! which is the machine's fault and never green.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Came, Look};
use crate::knowledge::{Field, Login};
use crate::model::AppDomain;
use crate::probe::browser::{Browser, Kit, Seen, Site, Step, Trouble};
use crate::script::Side;
use crate::stages::Job;

/// After the click, until what is looked for is there.
const PATIENCE: Duration = Duration::from_secs(20);

/// A browser that may have been opened.
pub(in crate::stages) struct Window<'a> {
    job: &'a Job,
    cancel: &'a CancellationToken,
    hosts: Vec<AppDomain>,
    browser: Option<Browser>,
}

impl<'a> Window<'a> {
    pub(in crate::stages) fn of(job: &'a Job, cancel: &'a CancellationToken, hosts: Vec<AppDomain>) -> Window<'a> {
        Window { job, cancel, hosts, browser: None }
    }

    /// Does one step, in a browser that is new if there was none or the last one died.
    pub(in crate::stages) async fn step(&mut self, step: Step) -> Result<Seen, Trouble> {
        let browser = match self.browser.take().filter(|browser| !browser.is_lost()) {
            Some(browser) => browser,
            None => {
                let kit = Kit::find().map_err(|missing| Trouble::Machine(missing.to_string()))?;
                let site = Site::behind(&self.job.config.proxy, self.hosts.clone()).await?;
                Browser::start(&kit, &site, self.cancel).await?
            }
        };
        self.job.watchdog.heard();
        self.browser.insert(browser).step(step).await
    }

    pub(in crate::stages) async fn close(self) {
        if let Some(browser) = self.browser {
            browser.close().await;
        }
    }
}

impl Look<'_> {
    /// Fills in a form and sees whether that lets one in.
    pub(super) async fn login(&mut self, host: Option<&str>, login: &Login, side: Side) -> Came {
        let address = format!("https://{}{}", self.host(host), login.at);
        let mut steps = vec![Step::Open { url: address }];
        for (selector, field) in &login.fill {
            let text = match field {
                Field::Text(text) => text.clone(),
                Field::Secret { secret } => match self.job.secret(secret, side).await {
                    Ok(value) => value.expose().to_owned(),
                    Err(why) => return Came::Unseen(why),
                },
            };
            steps.push(Step::Fill { selector: selector.clone(), text });
        }
        steps.push(Step::Click { selector: login.press.clone() });
        let milliseconds = u64::try_from(PATIENCE.as_millis()).unwrap_or(u64::MAX);
        steps.push(Step::Wait { selector: login.see.clone(), contains: login.contains.clone(), milliseconds });
        for step in steps {
            match self.window.step(step).await {
                Ok(_) => {}
                Err(Trouble::Page(text)) => return Came::Badly(text),
                Err(Trouble::Machine(text)) => return Came::Unseen(text),
            }
        }
        Came::Well(format!("`{}` is there", login.see))
    }
}

//! Waits until what was deployed is up, healthy and answers, by our own rules: abra was told not to wait. Only then is there
//! anything to assert, to check, to back up.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Job, Trouble};
use crate::engine::run::checked;
use crate::model::{AppDomain, StageName};
use crate::probe::{NoAnswer, Patience, Prober};
use crate::recipe::{DEFAULT_TIMEOUT, Said};
use crate::sandbox::Stream;
use crate::swarm::converge::{self, Before, Failure, NotConverged};

/// How often Traefik's swarm provider looks, as `cc-ci reconcile proxy` sets it up.
const PROXY_LOOKS: Duration = Duration::from_secs(1);
/// While the front page is asked for, the stack is looked at again so often.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A stack on its way to what was deployed after `before` was looked at.
pub(super) struct Settling<'a> {
    pub job: &'a Job,
    pub cancel: &'a CancellationToken,
    pub stage: StageName,
    pub domain: &'a AppDomain,
    pub said: &'a Said,
    pub before: &'a Before,
}

impl Settling<'_> {
    /// Waits until every service is what the deploy asked for. Says how much of it was the recipe's own waiting.
    pub(super) async fn converges(&self) -> Result<Duration, Trouble> {
        let begun = Instant::now();
        let mut heard = |line: String| self.job.say(self.stage, &line);
        match converge::wait(&self.job.swarm, self.before, self.limit(), self.cancel, &mut heard).await {
            Ok(converged) => {
                let count = self.said.compose.services().len();
                let got = format!("{count} up after {:.1} s", converged.took.as_secs_f64());
                self.note("services run", true, "all up", &got, converged.took).await?;
                Ok(converged.waited)
            }
            Err(not) => Err(self.not_up(not, begun.elapsed()).await?),
        }
    }

    /// The front page, through the proxy as the world would ask for it.
    pub(super) async fn answers(&self) -> Result<String, Trouble> {
        let (job, domain) = (self.job, self.domain);
        let begun = Instant::now();
        let prober = Prober::new(&job.config.proxy).map_err(|error| Trouble::Infra(error.to_string()))?;
        let health = job.known().health();
        let within = health.within.unwrap_or(job.config.runner.limits.answer);
        let patience = Patience { within, refresh: PROXY_LOOKS, status: health.status };
        let mut heard = |line: String| job.say(self.stage, &line);
        let answer = tokio::select! {
            answer = prober.wait_for_answer(domain, &health.path, &patience, self.cancel, &mut heard) => answer,
            not = self.dies() => return Err(self.not_up(not, begun.elapsed()).await?),
        };
        let expected = "2xx from the app, through the proxy";
        match answer {
            Ok(answer) => {
                let got = format!("https://{domain} answers {}", answer.status);
                self.note("front page", true, expected, &got, begun.elapsed()).await?;
                Ok(got)
            }
            Err(NoAnswer::Cancelled) => Err(Trouble::Ended),
            Err(silent) if silent.is_infra() => Err(Trouble::Infra(silent.to_string())),
            Err(silent) => {
                let words = format!("https://{domain}: {silent}");
                self.note("front page", false, expected, &words, begun.elapsed()).await?;
                Err(Trouble::Recipe(words))
            }
        }
    }

    /// The recipe's `timeout` label may ask for more patience than abra's usual one, never for less; what is declared, for both.
    fn limit(&self) -> Duration {
        self.job.known().timeout().unwrap_or(self.said.timeout.max(DEFAULT_TIMEOUT))
    }

    async fn note(&self, name: &str, well: bool, expected: &str, got: &str, took: Duration) -> Result<(), Trouble> {
        self.job.check(checked(self.stage, name, well, expected, got, took)).await
    }

    /// Whose fault it is that a stack is not up, noted and with the last lines of what failed.
    async fn not_up(&self, not: NotConverged, after: Duration) -> Result<Trouble, Trouble> {
        let failure = match not {
            NotConverged::Failed(failure) => failure,
            NotConverged::Fault(fault) => return Ok(fault.into()),
            NotConverged::Cancelled => return Ok(Trouble::Ended),
        };
        self.tell(&failure);
        let words = failure.to_string();
        if failure.is_infra() {
            return Ok(Trouble::Infra(words));
        }
        self.note("services run", false, "all up", &words, after).await?;
        Ok(Trouble::Recipe(words))
    }

    /// An app that was up may still die before it answers, and then the proxy's words say little. Ends when the stack has
    /// failed.
    async fn dies(&self) -> NotConverged {
        loop {
            tokio::time::sleep(LOOK_AGAIN).await;
            let look = converge::wait(&self.job.swarm, self.before, self.limit(), self.cancel, &mut |_| {}).await;
            if let Err(not) = look {
                return not;
            }
        }
    }

    /// How each service stood and what the failing one said last, for the log and for whoever reads its end.
    fn tell(&self, failure: &Failure) {
        for service in &failure.services {
            self.job.say(self.stage, service);
        }
        if !failure.last_lines.is_empty() {
            self.job.say(self.stage, &format!("last lines of {}:", failure.service));
            for line in &failure.last_lines {
                self.job.log.chunk(self.stage, Stream::Out, format!("{line}\n").as_bytes());
            }
        }
    }
}

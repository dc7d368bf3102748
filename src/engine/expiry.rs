//! How long the wildcard certificate lasts, as the proxy shows it and not as a file says. The day is known months before, so the
//! operator hears of it weeks before, on every page and on `/ready`.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::heartbeat::Heart;
use crate::clock::{Clock, Time};
use crate::config::Config;
use crate::model::AppDomain;
use crate::probe::{Prober, Seen};

const EVERY: Duration = Duration::from_secs(600);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Long enough to get a new one by hand.
const EARLY: Duration = Duration::from_secs(21 * 24 * 3600);

/// Looks until told to stop.
pub(super) async fn watch(config: Arc<Config>, heart: Heart, clock: Clock, stop: CancellationToken) {
    let (Ok(prober), Ok(nobody)) = (Prober::new(&config.proxy), format!("cc-ci-nobody.{}", config.domain).parse())
    else {
        return;
    };
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => look(&config.domain, &prober, &nobody, &heart, clock.now()).await,
        }
    }
}

async fn look(domain: &str, prober: &Prober, nobody: &AppDomain, heart: &Heart, now: Time) {
    let (until, alarm) = match prober.certificate(nobody).await {
        Ok(certificate) => (Some(certificate.not_after), warning(domain, certificate.not_after, now)),
        Err(Seen::Certificate(why)) => (None, Some(format!("that of *.{domain} is not trusted ({why}); {CURE}"))),
        // Whether the proxy answers at all is told elsewhere; what was seen last still holds.
        Err(_) => return,
    };
    heart.say(|said| {
        said.certificate_until = until;
        match alarm {
            Some(words) => said.alarms.insert("certificate".into(), words),
            None => said.alarms.remove("certificate"),
        };
    });
}

const CURE: &str = "put the new pair in with `cc-ci secrets set` and switch";

pub(crate) fn warning(domain: &str, until: Time, now: Time) -> Option<String> {
    let on = until.format("%Y-%m-%d");
    if until <= now {
        return Some(format!("that of *.{domain} ended on {on}; {CURE}"));
    }
    let left = until.since(now);
    let days = left.as_secs() / DAY.as_secs();
    (left < EARLY).then(|| format!("that of *.{domain} ends on {on}, in {days} days; {CURE}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operator_hears_three_weeks_before() {
        let now = Time(1_767_323_045_000);
        let words = |days: u64| warning("ci.example.org", now.plus(DAY * u32::try_from(days).unwrap()), now);
        assert_eq!(words(22), None);
        let told = words(20).unwrap();
        assert!(
            told.starts_with("that of *.ci.example.org ends on 2026-01-22, in 20 days; put the new pair in"),
            "{told}"
        );
        assert!(warning("ci.example.org", now.minus(DAY), now).unwrap().contains("ended on 2026-01-01"));
    }
}

//! What is counted or measured, and would be too little or too much for anything to work.

use std::time::Duration;

use super::check::{Checked, Unfit};
use super::{Config, seconds};

pub(super) fn check(config: &Config) -> Checked {
    check_spans(config)?;
    check_counts(config)?;
    check_app(config)?;
    check_kept(config)
}

/// A span with what is too short for it, and why.
type Least<'a> = (&'a str, Duration, u64, &'a str, &'a str);

/// Longer than anybody would wait.
const A_WEEK: Duration = Duration::from_secs(7 * 86_400);

fn check_spans(config: &Config) -> Checked {
    let (poll, limits) = (&config.forge.poll, &config.runner.limits);
    let attack = "a forge would take that for an attack";
    let spans: [Least; 11] = [
        ("forge.poll.interval", poll.interval, 1, attack, "30s"),
        ("forge.poll.sweep", poll.sweep, 1, attack, "5m"),
        ("forge.poll.overlap", poll.overlap, 1, "what came late or in the same second would be missed", "2m"),
        ("runner.retry_after", config.runner.retry_after, 1, "nothing mends so fast", "1m"),
        ("runner.limits.command", limits.command, 1, "every command would be ended as it begins", "10m"),
        ("runner.limits.stage", limits.stage, 1, "every stage would be ended as it begins", "30m"),
        ("runner.limits.run", limits.run, 1, "every run would be ended as it begins", "1h"),
        ("runner.limits.silence", limits.silence, 1, "between two lines of a log is more", "20m"),
        ("runner.limits.teardown", limits.teardown, 10, "a stack needs longer to go", "3m"),
        ("runner.limits.answer", limits.answer, 1, "no app would answer in time", "1m"),
        // The others end by themselves.
        ("runner.grace", config.runner.grace, 0, "", "10m"),
    ];
    for (key, span, least, why, usual) in spans {
        if span < seconds(least) {
            let least = if least == 1 { "a second".to_owned() } else { format!("{least} seconds") };
            return Err(Unfit::new(key, format!("is less than {least}: {why}; {usual} is usual")));
        }
        if span > A_WEEK {
            return Err(Unfit::new(key, format!("is more than a week, which nobody would wait for; {usual} is usual")));
        }
    }
    Ok(())
}

/// Runs at a time that anybody could mean.
const MOST_PARALLEL: usize = 64;
const MOST_REPLICAS: u64 = 1000;

fn check_counts(config: &Config) -> Checked {
    let (quota, runner, policy) = (&config.forge.quota, &config.runner, &config.policy);
    for (key, count) in [("forge.quota.member", quota.member), ("forge.quota.pull_request", quota.pull_request)] {
        if count == 0 {
            return Err(Unfit::new(key, "is 0: nobody could ask for anything; 1 is the least"));
        }
    }
    if runner.parallel == 0 {
        return Err(Unfit::new("runner.parallel", "is 0: nothing would ever run; 1 is the default"));
    }
    if runner.parallel > MOST_PARALLEL {
        let words = format!("is {}; one machine carries at most {MOST_PARALLEL}", runner.parallel);
        return Err(Unfit::new("runner.parallel", words));
    }
    if runner.images.above > 100 {
        let words = format!("is {}, and no disk is fuller than 100 percent; 80 is usual", runner.images.above);
        return Err(Unfit::new("runner.images.above", words));
    }
    if policy.replicas == 0 {
        return Err(Unfit::new("policy.replicas", "is 0: no service could run; 8 is the default"));
    }
    if policy.replicas > MOST_REPLICAS {
        return Err(Unfit::new("policy.replicas", format!("is more than {MOST_REPLICAS}; 8 is the default")));
    }
    Ok(())
}

/// More than one machine has of any of it.
const MOST_MEMORY_MIB: u64 = 64 << 20;
const MOST_CPUS: f64 = 4096.0;
const MOST_PIDS: u64 = 1 << 22;

fn check_app(config: &Config) -> Checked {
    let app = &config.policy.app;
    let least = "no app starts with less than 64 MiB of memory, 0.1 processors and 16 processes";
    let most = "more than any machine has; 4096 MiB, 2 processors and 4096 processes are the default";
    let bounds = [
        ("policy.app.memory_mib", app.memory_mib < 64, app.memory_mib > MOST_MEMORY_MIB),
        ("policy.app.cpus", app.cpus.is_nan() || app.cpus < 0.1, app.cpus > MOST_CPUS),
        ("policy.app.pids", app.pids < 16, app.pids > MOST_PIDS),
    ];
    for (key, too_little, too_much) in bounds {
        if too_little {
            return Err(Unfit::new(key, format!("is too little: {least}")));
        }
        if too_much {
            return Err(Unfit::new(key, format!("is {most}")));
        }
    }
    Ok(())
}

/// A log has a head, a tail, and the mark between them.
const LEAST_LOG: u64 = 64 << 10;
const MOST_LOG: u64 = 1 << 40;
/// Of bytes that are left on one disk.
const MOST_FREE: u64 = 1 << 50;

fn check_kept(config: &Config) -> Checked {
    let (logs, retention) = (&config.logs, &config.retention);
    if logs.run_bytes < LEAST_LOG {
        let words = format!("is less than {LEAST_LOG}: nothing could be found in such a log; 67108864 is usual");
        return Err(Unfit::new("logs.run_bytes", words));
    }
    if logs.run_bytes > MOST_LOG {
        return Err(Unfit::new("logs.run_bytes", "is more than any disk takes of one run; 67108864 is usual"));
    }
    if retention.age < seconds(3600) {
        return Err(Unfit::new(
            "retention.age",
            "is less than an hour: runs would go while people read them; 365d is usual",
        ));
    }
    if retention.runs == 0 {
        return Err(Unfit::new("retention.runs", "is 0: every run would go as it ends; 20000 is usual"));
    }
    if retention.size < logs.run_bytes {
        return Err(Unfit::new(
            "retention.size",
            "is less than `logs.run_bytes`, so that one long log would push out all others; 20G is usual",
        ));
    }
    if retention.free > MOST_FREE {
        return Err(Unfit::new("retention.free", "is more than any disk has, so no run would ever begin; 2G is usual"));
    }
    Ok(())
}

//! What the history is told with.

use std::time::Duration;

use super::Said;
use crate::model::{Outcome, StageName, StageState, Verdict};
use crate::sandbox::Stream;

/// A recipe and how it behaves.
#[derive(Debug)]
pub(super) struct Recipe {
    pub name: &'static str,
    pub version: &'static str,
    pub base: &'static str,
    pub first_pr: i64,
    /// Seconds that its installation takes.
    pub heavy: u64,
    /// Of a hundred runs, how many break something.
    pub trouble: usize,
    pub level: i64,
    pub level_reason: &'static str,
    pub not_applicable: Option<(StageName, &'static str)>,
}

impl Recipe {
    pub(super) fn takes(&self, stage: StageName) -> Duration {
        let millis = self.heavy * 1000;
        Duration::from_millis(match stage {
            StageName::Fetch => 900,
            StageName::Lint => 300,
            StageName::Install => millis,
            StageName::Checks => 2000 + millis / 9,
            StageName::Backup => 6000 + millis * 2,
            StageName::Upgrade => 9000 + millis * 3 / 2,
            StageName::Uninstall => 4000 + millis / 8,
        })
    }
}

const fn recipe(
    name: &'static str,
    versions: (&'static str, &'static str),
    heavy: u64,
    trouble: usize,
    level: (i64, &'static str),
) -> Recipe {
    let (version, base) = versions;
    let first_pr = 11 + (heavy as i64 * 7) % 60;
    Recipe {
        name,
        version,
        base,
        first_pr,
        heavy,
        trouble,
        level: level.0,
        level_reason: level.1,
        not_applicable: None,
    }
}

const NO_DATA: Option<(StageName, &str)> = Some((StageName::Backup, "holds no data of its own"));
const LINT: (i64, &str) = (4, "lint has 2 warnings");
const CHECKS_MISSING: (i64, &str) = (3, "has no checks of its own");
const BACKUP: (i64, &str) = (2, "backup does not apply: holds no data of its own");
const CLEAN: (i64, &str) = (5, "five runs in a row are still to come");
const ALL: (i64, &str) = (6, "everything, five times in a row");

pub(super) const ABOUT: [Recipe; 26] = [
    recipe("keycloak", ("1.4.0+26.4.0", "1.3.2+25.0.6"), 72, 12, LINT),
    recipe("nextcloud", ("10.2.1+31.0.4", "10.1.0+30.0.8"), 96, 18, CHECKS_MISSING),
    recipe("cryptpad", ("0.6.0+v2025.3.0", "0.5.4+v2024.12.0"), 41, 9, CLEAN),
    Recipe { not_applicable: NO_DATA, ..recipe("custom-html", ("1.13.0+1.29.0", "1.12.1+1.28.0"), 6, 3, BACKUP) },
    recipe("gitea", ("3.2.0+1.24.6", "3.1.1+1.23.8"), 22, 6, ALL),
    recipe("hedgedoc", ("0.9.2+1.10.3", "0.9.1+1.10.0"), 19, 8, CLEAN),
    recipe("wordpress", ("2.9.0+6.8.2", "2.8.1+6.7.2"), 33, 11, CHECKS_MISSING),
    recipe("matrix-synapse", ("7.1.0+v1.135.0", "7.0.0+v1.130.0"), 58, 21, CHECKS_MISSING),
    recipe("authentik", ("6.9.0+2025.6.4", "6.8.0+2025.4.1"), 84, 17, LINT),
    recipe("ghost", ("1.3.0+5.130.0", "1.2.0+5.118.0"), 27, 7, LINT),
    recipe("mattermost", ("2.1.0+10.9.1", "2.0.3+10.5.2"), 44, 10, CHECKS_MISSING),
    recipe("vaultwarden", ("1.0.2+1.34.1", "1.0.1+1.33.2"), 14, 4, ALL),
    recipe("discourse", ("0.8.0+3.4.4", "0.7.1+3.3.2"), 160, 31, CHECKS_MISSING),
    recipe("plausible", ("1.2.0+v3.0.1", "1.1.0+v2.1.4"), 39, 12, CHECKS_MISSING),
    Recipe { not_applicable: NO_DATA, ..recipe("custom-html-tiny", ("1.1.0+2.4.1", "1.0.0+2.3.0"), 4, 2, BACKUP) },
    recipe("mobilizon", ("0.6.0+5.1.4", "0.5.2+5.1.1"), 36, 15, CHECKS_MISSING),
    recipe("peertube", ("1.5.0+v7.2.1", "1.4.1+v7.0.1"), 66, 19, LINT),
    recipe("outline", ("2.12.0+0.85.0", "2.11.0+0.82.0"), 31, 9, CLEAN),
    recipe("immich", ("1.6.0+v1.135.3", "1.5.0+v1.128.0"), 71, 16, CHECKS_MISSING),
    recipe("uptime-kuma", ("2.2.0+1.23.16", "2.1.0+1.23.15"), 12, 3, ALL),
    recipe("penpot", ("0.4.0+2.7.2", "0.3.1+2.5.4"), 52, 14, CHECKS_MISSING),
    recipe("rallly", ("1.1.0+3.13.0", "1.0.0+3.11.2"), 17, 5, LINT),
    recipe("zammad", ("1.9.0+6.5.0", "1.8.0+6.4.1"), 118, 24, CHECKS_MISSING),
    recipe("etherpad", ("1.0.4+2.3.0", "1.0.3+2.2.7"), 16, 5, LINT),
    recipe("wekan", ("1.7.0+v7.94", "1.6.2+v7.80"), 29, 8, CHECKS_MISSING),
    recipe("baserow", ("0.9.0+1.33.3", "0.8.0+1.31.1"), 63, 13, CHECKS_MISSING),
];

pub(super) const MEMBERS: [&str; 7] = ["amara", "moritz", "trav", "marlon", "juniper", "sol", "p4u1"];

pub(super) const TITLES: [&str; 8] = [
    "chore: publish {version}",
    "Update the image to {version}",
    "Add a health check for the database",
    "Back up only what cannot be made again",
    "Raise start_period, first boots are slow",
    "Pin images by version",
    "Move the admin password to a secret",
    "Use the shared mail settings",
];

pub(super) const NOT_ENROLLED: [(&str, &str); 3] = [
    ("example", "it is a template, listed under `except`"),
    ("swarm-cronjob", "archived on the forge"),
    ("docs.coopcloud.tech", "listed under `except`"),
];

/// Who asked for something and did not get a run.
pub(super) const REFUSALS: &[(&str, &str, Verdict, &str)] = &[
    ("stranger", "!testme", Verdict::Refused, "not a member of recipes"),
    ("drive-by", "!testme upgrade", Verdict::Refused, "not a member of recipes"),
    ("moritz", "!testme", Verdict::Refused, "pushed to after the comment; its head is 7be01d44 now"),
    ("trav", "!testme help", Verdict::Answered, "told what can be asked"),
    ("marlon", "!testme instal", Verdict::Answered, "`instal` means nothing here"),
    ("p4u1", "!testme", Verdict::Ignored, "the comment was edited; only a new one counts"),
];

pub(super) const CHECKS: &[(StageName, &str)] = &[
    (StageName::Lint, "compose files merge"),
    (StageName::Lint, "images have a version"),
    (StageName::Install, "every service is healthy"),
    (StageName::Install, "answers through the proxy"),
    (StageName::Install, "what runs is the head"),
    (StageName::Checks, "front page shows a sign-in"),
    (StageName::Checks, "signing in as admin works"),
    (StageName::Checks, "a note written over the API reads back"),
    (StageName::Checks, "mail settings are taken from the environment"),
    (StageName::Backup, "the snapshot is not empty"),
    (StageName::Backup, "restored in place, the marker is there"),
    (StageName::Backup, "restored onto fresh volumes, the marker is there"),
    (StageName::Upgrade, "the base version installs"),
    (StageName::Upgrade, "the head's stamp is running"),
    (StageName::Upgrade, "data written before the upgrade is there after it"),
    (StageName::Uninstall, "nothing is left"),
];

/// How a run goes wrong.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    pub stage: StageName,
    pub state: StageState,
    pub outcome: Outcome,
    pub reason: &'static str,
    pub verdict: &'static str,
    pub expected: Option<&'static str>,
    pub got: Option<&'static str>,
    pub lines: &'static [&'static str],
}

const fn failed(
    stage: StageName,
    reason: &'static str,
    verdict: &'static str,
    compare: Option<(&'static str, &'static str)>,
    lines: &'static [&'static str],
) -> Fault {
    let (expected, got) = match compare {
        Some((expected, got)) => (Some(expected), Some(got)),
        None => (None, None),
    };
    Fault { stage, state: StageState::Failed, outcome: Outcome::Failed, reason, verdict, expected, got, lines }
}

/// The recipe's own.
pub(super) const FAULTS: &[Fault] = &[
    failed(
        StageName::Upgrade,
        "marker lost",
        "the upgrade lost data. The realm written before the upgrade from the published version was gone after it.",
        Some(("the realm `kept-41` of before the upgrade", "404 Not Found")),
        &[
            "ERROR: relation \"realm\" does not exist at character 187",
            "STATEMENT: select name from realm where name = 'kept-41'",
        ],
    ),
    failed(
        StageName::Install,
        "`app` died three times in 22 s",
        "`app` does not stay up: it exits with code 1 each time. Its last line is: FATAL: password authentication failed for user \"app\".",
        None,
        &[
            "FATAL: password authentication failed for user \"app\"",
            "panic: cannot reach the database",
            "exit status 1",
        ],
    ),
    failed(
        StageName::Checks,
        "1 of 4 checks failed",
        "mail settings are not taken from the environment.",
        Some(("SMTP_HOST in the container is `mail.example.org`", "it is empty")),
        &["check: SMTP_HOST is empty in app_app.1"],
    ),
    failed(
        StageName::Backup,
        "the snapshot is empty",
        "the backup contains nothing. The label backupbot.backup.path names /var/lib/data, which is not in the container.",
        Some(("a snapshot of more than 0 bytes", "0 files, 0 bytes")),
        &["backupbot: /var/lib/data: no such file or directory", "snapshot 4f1c2a90 saved: 0 files, 0 B"],
    ),
    failed(
        StageName::Lint,
        "compose.yml does not merge",
        "compose.yml:31:7: the service `db` has no image and no build.",
        None,
        &["compose.yml:31:7: service `db`: `image` is missing"],
    ),
    Fault {
        stage: StageName::Install,
        state: StageState::TimedOut,
        outcome: Outcome::TimedOut,
        reason: "no health check turned green in 15 min",
        verdict: "the health check of `app` never turned green. The stage's limit of 15 min was over first.",
        expected: Some("`app` healthy"),
        got: Some(
            "unhealthy, 14 failures in a row: wget: can't connect to remote host (127.0.0.1): Connection refused",
        ),
        lines: &["wget: can't connect to remote host (127.0.0.1): Connection refused"],
    },
];

/// The machine's, the registry's, the network's, the forge's.
pub(super) const TROUBLES: &[Fault] = &[Fault {
    stage: StageName::Install,
    state: StageState::Infra,
    outcome: Outcome::Infra,
    reason: "pulling an image was refused",
    verdict: "the registry refuses more pulls (toomanyrequests). It is tried again in 10 min by itself.",
    expected: None,
    got: None,
    lines: &["toomanyrequests: You have reached your pull rate limit."],
}];

/// What a stage's programs and cc-ci itself say, and how long after it the next line comes.
pub(super) fn said(about: &Recipe, stage: StageName, fault: Option<&Fault>, took: Duration) -> Vec<Said> {
    let name = about.name;
    let ours = |text: String| (Stream::Out, text);
    let mut lines: Vec<(Stream, String)> = match stage {
        StageName::Fetch => vec![
            ours(format!("Cloning into '{name}'...")),
            (Stream::Err, "remote: Enumerating objects: 1204, done.".into()),
            ours(format!("HEAD is now at the pull request's commit, 14 tags, base {}", about.base)),
        ],
        StageName::Lint => vec![ours(format!("lint {name}: 2 warnings, 0 errors"))],
        StageName::Install | StageName::Upgrade => {
            let mut lines = vec![
                ours(format!("INFO selected {} as version for {name}", about.version)),
                ours("INFO initialising deployment".into()),
                ours("Creating network app_internal".into()),
                ours("Creating secret app_db_password_v1".into()),
                ours("Creating service app_db".into()),
                ours("Creating service app_app".into()),
            ];
            for number in 1..=24 {
                lines.push((
                    Stream::Err,
                    format!("app_db.1 | LOG:  migration {number} of 24 applied in {} ms", 11 + number * 7 % 90),
                ));
            }
            if fault.is_none() {
                lines.push(ours("app_app.1 | ready to take connections on [::]:8080".into()));
                let answers = format!("https://{}-3fa92c.ci.example.org answers 200", &name[..4]);
                lines.push(ours(format!("{answers} after {} ms", took.as_millis() / 2)));
            }
            lines
        }
        StageName::Checks => (1..=4).map(|number| ours(format!("check {number} of 4 passed"))).collect(),
        StageName::Backup => vec![
            ours("backupbot: pre-hook of db: pg_dump".into()),
            ours("Files: 212 new, 0 changed, 0 unmodified; added 412.118 KiB".into()),
            ours("snapshot 9b1f07aa saved".into()),
            ours("restoring snapshot 9b1f07aa in place".into()),
            ours("restoring snapshot 9b1f07aa onto fresh volumes".into()),
        ],
        StageName::Uninstall => vec![
            ours("Removing service app_app".into()),
            ours("Removing service app_db".into()),
            ours("Removing network app_internal".into()),
            ours("services 0, containers 0, volumes 0, secrets 0, configs 0, networks 0".into()),
        ],
    };
    if let Some(fault) = fault {
        lines.extend(fault.lines.iter().map(|line| (Stream::Err, (*line).to_owned())));
    }
    let pause = took / u32::try_from(lines.len().max(1)).unwrap_or(1);
    lines.into_iter().map(|(stream, text)| (stage, stream, text, pause)).collect()
}

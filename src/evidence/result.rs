//! `result.json`: one run as data, for whoever wants to read it by program. It is made of the rows each time it is asked for, so
//! it is never older than they are. `docs/result.md` says what each key means; [`FORMAT`] rises when one changes its meaning
//! or goes, not when one is added.

use rusqlite::Connection;
use serde::Serialize;

use crate::api::WholeRun;
use crate::model::{EvidenceKind, RunId, StageName};
use crate::plan::Plan;
use crate::stages::level;
use crate::store::stages::Check;
use crate::store::{StoreError, apps, evidence, runs, stages};

pub const FORMAT: u32 = 1;

/// One run, whole: what the API says of it, and what there is beside.
#[derive(Debug, Serialize)]
pub struct RunResult {
    pub format: u32,
    #[serde(flatten)]
    pub run: WholeRun,
    pub readme_tests: u8,
    pub upgrade_from: Option<String>,
    pub plan: Option<Plan>,
    pub leftovers: Vec<String>,
    pub evidence: Vec<Piece>,
}

#[derive(Debug, Serialize)]
pub struct Piece {
    pub name: String,
    pub stage: StageName,
    pub kind: EvidenceKind,
    pub bytes: u64,
    pub cut: u64,
    pub path: String,
}

/// `None`: there is no such run.
pub fn of(db: &Connection, id: RunId) -> Result<Option<RunResult>, StoreError> {
    let Some(run) = runs::by_id(db, id)? else { return Ok(None) };
    let (stages, checks) = (stages::of_run(db, id)?, stages::checks_of_run(db, id)?);
    let left = apps::of_run(db, id)?.into_iter().filter_map(|app| app.leftovers);
    Ok(Some(RunResult {
        format: FORMAT,
        run: WholeRun::of(&run, &stages, &checks),
        readme_tests: level::readme_score(&stages, all_health_checked(&checks)),
        upgrade_from: run.upgrade_from,
        plan: run.plan,
        leftovers: left.flat_map(|left| left.lines().map(str::to_owned).collect::<Vec<_>>()).collect(),
        evidence: evidence::of_run(db, id)?.into_iter().map(|piece| evidence_of(id, piece)).collect(),
    }))
}

/// Lint found no service without a health check.
pub fn all_health_checked(checks: &[Check]) -> bool {
    !checks.iter().any(|check| check.stage == StageName::Lint && check.name.starts_with("R002 "))
}

fn evidence_of(run: RunId, piece: evidence::Piece) -> Piece {
    let path = format!("/runs/{run}/evidence/{}", piece.name);
    Piece { path, name: piece.name, stage: piece.stage, kind: piece.kind, bytes: piece.bytes, cut: piece.cut }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::clock::Time;
    use crate::dev::seed::{self, Seed};
    use crate::store::tests::empty;

    #[tokio::test]
    async fn the_document_explains_every_key_and_no_other() {
        let (_dir, store) = empty();
        let what = Seed { runs: 40, checks: None, until: Time(1_700_000_000_000), open: true, logs: None };
        seed::seed(&store, &what).await.unwrap();
        let piece = evidence::Piece {
            stage: StageName::Install,
            name: "front-page.png".into(),
            kind: EvidenceKind::Picture,
            bytes: 7,
            cut: 0,
        };
        store.write("", move |tx| evidence::put(tx, RunId(1), &piece, Time(1))).await.unwrap();
        let mut keys = std::collections::BTreeSet::new();
        for id in 1..=40 {
            let result = store.read(move |db| of(db, RunId(id))).await.unwrap().expect("it was seeded");
            names("", &serde_json::to_value(result).unwrap(), &mut keys);
        }
        let document = include_str!("../../docs/result.md");
        let (keys_of, _) = document.split_once("## What is kept").unwrap();
        let rows = keys_of.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
        let explained: std::collections::BTreeSet<String> = rows.map(|(key, _)| key.to_owned()).collect();
        assert_eq!(explained, keys);
        assert!(document.contains(&format!("Format {FORMAT}")));
    }

    fn names(before: &str, value: &Value, keys: &mut std::collections::BTreeSet<String>) {
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    keys.insert(format!("{before}{key}"));
                    // Said in one row.
                    if key != "plan" {
                        names(&format!("{before}{key}."), value, keys);
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| names(before, item, keys)),
            _ => {}
        }
    }
}

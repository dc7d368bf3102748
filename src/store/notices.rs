//! What people are to hear elsewhere than on the forge, and how far each target has it.
//!
//! A notice stands here in the transaction that decided it, before anybody knows who is to hear it: the runner, which ends runs,
//! does not know the targets. The server, which does, gives each target its delivery in one transaction, so that none gets two.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::StoreError;
use crate::clock::Time;
use crate::model::{NoticeKind, RunId};

/// A notice on its way to one target.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub notice: i64,
    pub target: String,
    pub kind: NoticeKind,
    pub run: Option<RunId>,
    pub alarm: Option<String>,
    pub words: Option<String>,
    pub created_at: Time,
    pub due_at: Time,
    pub attempts: i64,
}

pub fn of_run(tx: &Transaction, kind: NoticeKind, run: RunId, now: Time) -> Result<(), StoreError> {
    tx.prepare_cached("insert into notices (kind, run, created_at) values (?1, ?2, ?3)")?
        .execute(params![kind, run, now.0])?;
    Ok(())
}

/// An alarm began, unless it was told of before.
pub fn alarm_began(tx: &Transaction, alarm: &str, words: &str, now: Time) -> Result<(), StoreError> {
    let rows = tx
        .prepare_cached("insert into alarms_told (alarm, since) values (?1, ?2) on conflict (alarm) do nothing")?
        .execute(params![alarm, now.0])?;
    if rows == 1 { of_alarm(tx, NoticeKind::Alarm, alarm, Some(words), now) } else { Ok(()) }
}

/// One that was told of is over.
pub fn alarm_ended(tx: &Transaction, alarm: &str, now: Time) -> Result<(), StoreError> {
    let rows = tx.prepare_cached("delete from alarms_told where alarm = ?1")?.execute([alarm])?;
    if rows == 1 { of_alarm(tx, NoticeKind::Over, alarm, None, now) } else { Ok(()) }
}

fn of_alarm(tx: &Transaction, kind: NoticeKind, alarm: &str, words: Option<&str>, now: Time) -> Result<(), StoreError> {
    tx.prepare_cached("insert into notices (kind, alarm, words, created_at) values (?1, ?2, ?3, ?4)")?
        .execute(params![kind, alarm, words, now.0])?;
    Ok(())
}

/// Alarms that were told of and whose end was not.
pub fn alarms_told(db: &Connection) -> Result<Vec<String>, StoreError> {
    let mut statement = db.prepare_cached("select alarm from alarms_told order by alarm")?;
    let rows = statement.query_map([], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Walks `notices_unspread`.
pub(super) const UNSPREAD: &str = "select id from notices where spread_at is null order by id";

pub fn any_unspread(db: &Connection) -> Result<bool, StoreError> {
    Ok(db.prepare_cached(UNSPREAD)?.exists([])?)
}

/// Gives each target its delivery of what is new.
pub fn spread(tx: &Transaction, targets: &[String], now: Time) -> Result<(), StoreError> {
    for target in targets {
        tx.prepare_cached(
            "insert into deliveries (notice, target, due_at)
             select id, ?1, ?2 from notices where spread_at is null",
        )?
        .execute(params![target, now.0])?;
    }
    tx.prepare_cached("update notices set spread_at = ?1 where spread_at is null")?.execute([now.0])?;
    Ok(())
}

/// The oldest that this target does not have: what came after it waits. Walks `deliveries_open`.
pub(super) const NEXT: &str = "
    select * from deliveries join notices on notices.id = deliveries.notice
     where target = ?1 and done_at is null and gave_up_at is null
     order by notice
     limit 1";

pub fn next(db: &Connection, target: &str) -> Result<Option<Delivery>, StoreError> {
    Ok(db.prepare_cached(NEXT)?.query_row([target], read).optional()?)
}

fn read(row: &Row) -> rusqlite::Result<Delivery> {
    Ok(Delivery {
        notice: row.get("notice")?,
        target: row.get("target")?,
        kind: row.get("kind")?,
        run: row.get("run")?,
        alarm: row.get("alarm")?,
        words: row.get("words")?,
        created_at: Time(row.get("created_at")?),
        due_at: Time(row.get("due_at")?),
        attempts: row.get("attempts")?,
    })
}

/// Written before an attempt, so that one that ends with the process is known to have been one.
pub fn begin(tx: &Transaction, delivery: &Delivery, now: Time) -> Result<(), StoreError> {
    tx.prepare_cached(
        "update deliveries set attempts = attempts + 1, tried_at = ?3 where notice = ?1 and target = ?2",
    )?
    .execute(params![delivery.notice, delivery.target, now.0])?;
    Ok(())
}

pub fn done(tx: &Transaction, delivery: &Delivery, now: Time) -> Result<(), StoreError> {
    tx.prepare_cached("update deliveries set done_at = ?3, last_error = null where notice = ?1 and target = ?2")?
        .execute(params![delivery.notice, delivery.target, now.0])?;
    Ok(())
}

pub fn try_again(tx: &Transaction, delivery: &Delivery, error: &str, at: Time) -> Result<(), StoreError> {
    tx.prepare_cached("update deliveries set last_error = ?3, due_at = ?4 where notice = ?1 and target = ?2")?
        .execute(params![delivery.notice, delivery.target, error, at.0])?;
    Ok(())
}

pub fn give_up(tx: &Transaction, delivery: &Delivery, error: &str, now: Time) -> Result<(), StoreError> {
    tx.prepare_cached("update deliveries set last_error = ?3, gave_up_at = ?4 where notice = ?1 and target = ?2")?
        .execute(params![delivery.notice, delivery.target, error, now.0])?;
    Ok(())
}

/// Of targets that the configuration does not name any more nothing waits; what is settled and older than `before` goes.
pub fn tidy(tx: &Transaction, targets: &[String], before: Time, now: Time) -> Result<(), StoreError> {
    let mut statement =
        tx.prepare_cached("select distinct target from deliveries where done_at is null and gave_up_at is null")?;
    let waiting: Vec<String> = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    for gone in waiting.iter().filter(|target| !targets.contains(target)) {
        tx.prepare_cached(
            "update deliveries set gave_up_at = ?2, last_error = '`notify` does not name this target any more'
              where target = ?1 and done_at is null and gave_up_at is null",
        )?
        .execute(params![gone, now.0])?;
    }
    tx.prepare_cached(
        "delete from notices
          where created_at < ?1 and spread_at is not null
            and not exists (select 1 from deliveries where notice = id and done_at is null and gave_up_at is null)",
    )?
    .execute([before.0])?;
    Ok(())
}

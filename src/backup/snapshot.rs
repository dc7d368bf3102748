//! What restic says of its snapshots and of what is in one, and whether that is what was to be kept.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::labels::{Part, Wanted, in_snapshot};
use crate::clock::Time;

/// One snapshot, as `restic snapshots --json` has it.
#[derive(Clone, Debug, Deserialize)]
pub struct Snapshot {
    pub id: String,
    /// As restic writes it, with nanoseconds and zone.
    pub time: String,
    #[serde(default)]
    pub paths: Vec<String>,
    /// `<stack>:<version>` of each app in it.
    #[serde(default, deserialize_with = "or_none")]
    pub tags: Vec<String>,
}

/// restic writes `null` for a list of nothing.
fn or_none<'de, D: serde::Deserializer<'de>>(source: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::deserialize(source)?.unwrap_or_default())
}

impl Snapshot {
    pub fn is_of(&self, stack: &str) -> bool {
        self.tags.iter().any(|tag| tag.split(':').next() == Some(stack))
    }

    /// As people are shown it.
    pub fn short(&self) -> &str {
        self.id.get(..8).unwrap_or(&self.id)
    }
}

/// The snapshots of a stack in what restic listed, oldest first.
pub fn snapshots(json: &[u8], stack: &str) -> Result<Vec<Snapshot>, serde_json::Error> {
    let all: Option<Vec<Snapshot>> = serde_json::from_slice(json)?;
    let mut own: Vec<Snapshot> = all.unwrap_or_default().into_iter().filter(|one| one.is_of(stack)).collect();
    own.sort_by_key(|one| Time::parse(&one.time));
    Ok(own)
}

/// Something in a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Entry {
    pub path: String,
    #[serde(rename = "type")]
    pub kind: EntryKind,
    #[serde(default)]
    pub size: u64,
    #[serde(default)]
    pub mtime: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EntryKind {
    File,
    Dir,
    Symlink,
    #[serde(other)]
    Other,
}

impl Entry {
    /// For who looks through a listing.
    pub fn line(&self) -> String {
        let second = self.mtime.get(..19).unwrap_or_default().replace('T', " ");
        let folder = if self.kind == EntryKind::Dir { "/" } else { "" };
        // A name is the app's own, line breaks included.
        format!("{second:19} {:>12} {}{folder}\n", self.size, self.path.escape_debug())
    }
}

/// What `restic ls --json` printed: a line for the snapshot, then one for each entry.
pub fn entries(lines: &[u8]) -> Vec<Entry> {
    let lines = lines.split(|byte| *byte == b'\n');
    lines.filter_map(|line| serde_json::from_slice(line).ok()).collect()
}

/// What a snapshot holds of one path that was to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// For people: `volume data`, `backup.sql of volume db`.
    pub what: String,
    /// In the snapshot.
    pub path: String,
    pub files: usize,
    pub bytes: u64,
    /// It is one file rather than a folder.
    pub is_file: bool,
    /// When the newest file of it was written.
    pub newest: Option<Time>,
}

impl Held {
    /// Why this cannot be right, if it cannot. `since` is when the backup began, for what a hook should have written then.
    pub fn fault(&self, since: Option<Time>) -> Option<String> {
        let what = &self.what;
        if self.files == 0 {
            return Some(format!("the snapshot holds nothing of {what}"));
        }
        if self.is_file && self.bytes == 0 {
            return Some(format!("{what} is empty in the snapshot"));
        }
        match (self.is_file, since, self.newest) {
            (true, Some(since), Some(newest)) if newest < since => Some(format!(
                "{what} in the snapshot is from {}, before this backup began: its hook did not write it anew",
                newest.format("%Y-%m-%d %H:%M:%S")
            )),
            _ => None,
        }
    }

    pub fn shown(&self) -> String {
        let files = if self.files == 1 { "1 file".to_owned() } else { format!("{} files", self.files) };
        format!("{files}, {} bytes", self.bytes)
    }
}

/// What the snapshot holds of each path that was to be kept.
pub fn held(wanted: &Wanted, stack: &str, entries: &[Entry]) -> Vec<Held> {
    let by_path: BTreeMap<&str, &Entry> = entries.iter().map(|entry| (entry.path.as_str(), entry)).collect();
    let mut all = Vec::new();
    for (volume, part) in &wanted.volumes {
        match part {
            Part::Whole => all.push(one(format!("volume {volume}"), in_snapshot(stack, volume, None), &by_path)),
            Part::Paths(paths) => all.extend(paths.iter().map(|path| {
                one(format!("{path} of volume {volume}"), in_snapshot(stack, volume, Some(path)), &by_path)
            })),
        }
    }
    all
}

fn one(what: String, path: String, entries: &BTreeMap<&str, &Entry>) -> Held {
    let below = format!("{path}/");
    let itself = entries.get(path.as_str()).copied();
    let inside =
        entries.range(below.as_str()..).take_while(|(path, _)| path.starts_with(&below)).map(|(_, entry)| *entry);
    let files: Vec<&Entry> = itself.into_iter().chain(inside).filter(|entry| entry.kind != EntryKind::Dir).collect();
    Held {
        what,
        path,
        files: files.len(),
        bytes: files.iter().map(|file| file.size).sum(),
        is_file: itself.is_some_and(|entry| entry.kind == EntryKind::File),
        newest: files.iter().filter_map(|file| Time::parse(&file.mtime)).max(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> Wanted {
        let volumes = [("db", Part::Paths(vec!["backup.sql".into()])), ("files", Part::Whole)];
        let volumes = volumes.into_iter().map(|(name, part)| (name.to_owned(), part)).collect();
        Wanted { volumes, ..Wanted::default() }
    }

    fn look(lines: &str) -> Vec<Held> {
        held(&wanted(), "st", &entries(lines.as_bytes()))
    }

    fn at(text: &str) -> Time {
        Time::parse(text).unwrap()
    }

    #[test]
    fn a_snapshot_holds_what_was_to_be_kept() {
        let held = look(
            r#"{"time":"2026-01-01T00:00:00Z","tree":"x","paths":["/x"],"id":"aa","struct_type":"snapshot"}
{"name":"st_files","type":"dir","path":"/var/lib/docker/volumes/st_files","mtime":"2026-01-01T10:00:00Z","struct_type":"node"}
{"name":"a","type":"file","path":"/var/lib/docker/volumes/st_files/_data/a","size":7,"mtime":"2026-01-01T09:00:00Z"}
{"name":"b","type":"file","path":"/var/lib/docker/volumes/st_filesystem/_data/b","size":9,"mtime":"2026-01-01T09:00:00Z"}
{"name":"backup.sql","type":"file","path":"/var/lib/docker/volumes/st_db/_data/backup.sql","size":120,"mtime":"2026-01-01T10:00:00.5+00:00"}
"#,
        );
        assert_eq!(held.len(), 2);
        assert_eq!((held[0].what.as_str(), held[0].bytes, held[0].is_file), ("backup.sql of volume db", 120, true));
        assert_eq!((held[1].files, held[1].bytes, held[1].is_file), (1, 7, false));
        let begun = Some(at("2026-01-01T10:00:00Z"));
        assert_eq!(held[0].fault(begun), None);
        assert_eq!(held[1].fault(begun), None, "a file of the app may be old");
        let later = held[0].fault(Some(at("2026-01-01T10:00:01Z"))).unwrap();
        assert!(later.contains("did not write it anew"), "{later}");
    }

    #[test]
    fn what_is_empty_or_missing_is_named() {
        let held = look(
            r#"{"type":"file","path":"/var/lib/docker/volumes/st_db/_data/backup.sql","size":0,"mtime":"2026-01-01T10:00:00Z"}
{"type":"dir","path":"/var/lib/docker/volumes/st_files"}
{"type":"dir","path":"/var/lib/docker/volumes/st_files/_data"}
"#,
        );
        assert_eq!(held[0].fault(None).unwrap(), "backup.sql of volume db is empty in the snapshot");
        assert_eq!(held[1].fault(None).unwrap(), "the snapshot holds nothing of volume files");
    }

    #[test]
    fn a_stack_s_snapshots_are_its_own() {
        let json = br#"[{"id":"b1","time":"2026-01-01T10:00:00.123456789+01:00","tags":["st:1.0.0+1"],"paths":[]},
            {"id":"b2","time":"2026-01-01T08:00:00.5Z","tags":["st:1.0.0+1"]},
            {"id":"c1","time":"2026-01-01T09:30:00Z","tags":["st_2:1"]}, {"id":"d","time":"2026-01-01T09:30:00Z","tags":null}]"#;
        let ids: Vec<String> = snapshots(json, "st").unwrap().into_iter().map(|one| one.id).collect();
        assert_eq!(ids, ["b2", "b1"]);
        assert!(snapshots(b"null", "st").unwrap().is_empty());
    }
}

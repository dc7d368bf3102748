//! What a run keeps as proof of what it saw: files in the state directory, one directory a run, and a row for each.
//!
//! Keeping is never a verdict: what cannot be kept is said in the run's log and in the journal, and the run goes on. The file is
//! there before its row, so a page never offers what cannot be read. Text passes the run's redactor; a picture cannot.
//! What hostile apps print is bounded here, by piece and by run, whoever puts it.

pub mod result;

use std::path::{Path, PathBuf};

use crate::clock::Clock;
use crate::crash::crash_point;
use crate::engine::causes;
use crate::engine::ledger::Ledger;
use crate::logs::Log;
use crate::model::{EvidenceKind, RunId, StageName};
use crate::secrets::redact::Redactor;
use crate::store::StoreError;
use crate::store::evidence::{self, Piece};

/// Of one piece: more is left out of its middle.
pub const PIECE: usize = 1 << 20;
/// A picture cannot be cut, so it may be larger.
pub const PICTURE: usize = crate::probe::browser::LARGEST_PICTURE;
/// Of all pieces of a run: nothing more is kept then.
pub const RUN: u64 = 16 << 20;
const LONGEST_NAME: usize = 100;

/// Where one run's evidence goes. Cheap to clone.
#[derive(Clone)]
pub struct Evidence {
    dir: PathBuf,
    run: RunId,
    redactor: Redactor,
    ledger: Ledger,
    clock: Clock,
    log: Log,
}

/// Why a piece is not there.
#[derive(Debug, thiserror::Error)]
enum NotKept {
    #[error("the run keeps {} MB already, which is the most", RUN >> 20)]
    Full,
    #[error("a picture of {0} bytes is larger than {PICTURE}")]
    Large(usize),
    #[error("{path} cannot be written: {source}", path = path.display())]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Where the files of a run are.
pub fn dir(root: &Path, run: RunId) -> PathBuf {
    root.join(run.to_string())
}

impl Evidence {
    pub fn new(root: &Path, run: RunId, redactor: Redactor, ledger: Ledger, clock: Clock, log: Log) -> Evidence {
        Evidence { dir: dir(root, run), run, redactor, ledger, clock, log }
    }

    /// Keeps a piece, in place of one that has its name. `name` is made fit for a file: `compose.head.yml`.
    pub async fn put(&self, stage: StageName, name: &str, kind: EvidenceKind, bytes: Vec<u8>) {
        let name = file_name(name);
        if let Err(error) = self.try_put(stage, &name, kind, bytes).await {
            let error = causes(&error);
            self.log.line(stage, &format!("the evidence {name} is not kept: {error}"));
            tracing::warn!(run = %self.run, name, error, "a piece of evidence is not kept");
        }
    }

    async fn try_put(&self, stage: StageName, name: &str, kind: EvidenceKind, bytes: Vec<u8>) -> Result<(), NotKept> {
        let (bytes, cut) = match kind {
            EvidenceKind::Picture if bytes.len() > PICTURE => return Err(NotKept::Large(bytes.len())),
            EvidenceKind::Picture => (bytes, 0),
            // Cut last: half a secret would pass the redactor.
            EvidenceKind::Text | EvidenceKind::Json => shortened(self.redactor.mask_bytes(&bytes)),
        };
        let (run, beside) = (self.run, name.to_owned());
        let kept = self.ledger.store.read(move |db| evidence::bytes_beside(db, run, &beside)).await?;
        if kept + bytes.len() as u64 > RUN {
            return Err(NotKept::Full);
        }
        let piece = Piece { stage, name: name.to_owned(), kind, bytes: bytes.len() as u64, cut };
        write(self.dir.clone(), name, bytes).await?;
        crash_point!("files: evidence written");
        let now = self.clock.now();
        self.ledger.write("could not note evidence", move |tx| evidence::put(tx, run, &piece, now)).await?;
        Ok(())
    }
}

/// Beside, then in place: whoever reads has the old or the new one whole.
async fn write(dir: PathBuf, name: &str, bytes: Vec<u8>) -> Result<(), NotKept> {
    let path = dir.join(name);
    let new = dir.join(format!(".{name}"));
    let failed = |source| NotKept::File { path: path.clone(), source };
    tokio::fs::create_dir_all(&dir).await.map_err(failed)?;
    tokio::fs::write(&new, bytes).await.map_err(failed)?;
    tokio::fs::rename(&new, &path).await.map_err(failed)
}

/// Head and tail, with a line between them that says what is missing; and how many bytes those are.
fn shortened(bytes: Vec<u8>) -> (Vec<u8>, u64) {
    if bytes.len() <= PIECE {
        return (bytes, 0);
    }
    let (head, tail) = (&bytes[..PIECE / 2], &bytes[bytes.len() - PIECE / 2..]);
    // Whole lines, where there are any.
    let head = head.iter().rposition(|byte| *byte == b'\n').map_or(head, |end| &head[..=end]);
    let tail = tail.iter().position(|byte| *byte == b'\n').map_or(tail, |end| &tail[end + 1..]);
    let cut = bytes.len() - head.len() - tail.len();
    let between = format!("\n… {cut} bytes are left out here …\n");
    ([head, between.as_bytes(), tail].concat(), cut as u64)
}

/// What stands in a path and an address.
fn file_name(text: &str) -> String {
    let fit = |c: char| match c.to_ascii_lowercase() {
        c @ ('a'..='z' | '0'..='9' | '.' | '_' | '-') => c,
        _ => '-',
    };
    let name: String = text.trim_start_matches('.').chars().take(LONGEST_NAME).map(fit).collect();
    if name.is_empty() { "-".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bell::Bell;
    use crate::clock::Time;
    use crate::dev::seed::plain_run;
    use crate::secrets::Secret;
    use crate::store::runs;
    use crate::store::tests::empty;

    struct House {
        dir: tempfile::TempDir,
        evidence: Evidence,
    }

    impl House {
        async fn open() -> House {
            let (dir, store) = empty();
            let clock = Clock::held(Time(1_000));
            let run = store.write("", |tx| runs::queue(tx, &plain_run("app", 1), Time(1_000))).await.unwrap();
            let ledger = Ledger::new(store, Bell::of(dir.path().join("bell")));
            let redactor = Redactor::new();
            let log = Log::create(&dir.path().join("log"), redactor.clone(), clock.clone(), 1 << 20).unwrap();
            let evidence = Evidence::new(&dir.path().join("evidence"), run, redactor, ledger, clock, log);
            House { dir, evidence }
        }

        async fn put(&self, name: &str, kind: EvidenceKind, bytes: &[u8]) {
            self.evidence.put(StageName::Install, name, kind, bytes.to_vec()).await;
        }

        async fn pieces(&self) -> Vec<Piece> {
            let run = self.evidence.run;
            self.evidence.ledger.store.read(move |db| evidence::of_run(db, run)).await.unwrap()
        }

        fn file(&self, name: &str) -> Vec<u8> {
            std::fs::read(self.dir.path().join("evidence/1").join(name)).unwrap()
        }
    }

    #[tokio::test]
    async fn what_is_put_is_there_masked_and_under_a_name_that_is_one() {
        let house = House::open().await;
        house.evidence.redactor.register("token", &Secret::new("correct-horse"));
        house.put("../../etc/Log of app.txt", EvidenceKind::Text, b"it is correct-horse\n").await;
        let pieces = house.pieces().await;
        assert_eq!(pieces[0].name, "-..-etc-log-of-app.txt");
        assert_eq!(house.file(&pieces[0].name), b"it is [secret token]\n");
        // Again: replaced, not doubled.
        house.put("../../etc/Log of app.txt", EvidenceKind::Text, b"new").await;
        assert_eq!(house.pieces().await.len(), 1);
        assert_eq!(house.file(&pieces[0].name), b"new");
    }

    #[tokio::test]
    async fn a_run_keeps_no_more_than_its_share_and_says_so() {
        let house = House::open().await;
        let lines = "0123456789abcde\n".repeat(PIECE / 16 + 1000);
        house.put("long.txt", EvidenceKind::Text, lines.as_bytes()).await;
        let long = &house.pieces().await[0];
        assert!(long.bytes <= PIECE as u64 + 100 && long.cut >= 16_000, "{long:?}");
        assert!(String::from_utf8(house.file("long.txt")).unwrap().contains("bytes are left out here"));
        for number in 0..20 {
            house.put(&format!("{number}.png"), EvidenceKind::Picture, &vec![7; 3 << 20]).await;
        }
        house.put("too-large.png", EvidenceKind::Picture, &vec![7; PICTURE + 1]).await;
        let pieces = house.pieces().await;
        assert!(pieces.iter().map(|piece| piece.bytes).sum::<u64>() <= RUN);
        assert_eq!(pieces.len(), 5, "the long text and four pictures");
        let said = house.evidence.log.tail(40).join("\n");
        assert!(said.contains("the evidence 4.png is not kept: the run keeps 16 MB already"), "{said}");
        assert!(said.contains("too-large.png is not kept: a picture of"), "{said}");
    }
}

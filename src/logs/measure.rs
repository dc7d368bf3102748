//! How fast logs are taken in, for `scripts/bench`.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use super::{Log, USUAL_CAP, packed_path};
use crate::clock::Clock;
use crate::model::StageName;
use crate::sandbox::Stream;
use crate::secrets::Secret;
use crate::secrets::redact::Redactor;

/// What [`measure`] found.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// What went in.
    pub bytes: u64,
    pub ingest: Duration,
    pub close: Duration,
    /// What remained on disk.
    pub packed: u64,
}

impl Measured {
    /// Taken in, in millions of bytes a second.
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    pub fn rate(&self) -> f64 {
        self.bytes as f64 / self.ingest.as_secs_f64() / 1e6
    }
}

/// Writes so many bytes of a web server's log, with 20 secrets to look for, into a log in `dir`, and closes it.
pub fn measure(dir: &Path, bytes: u64) -> io::Result<Measured> {
    let redactor = Redactor::new();
    for number in 0..20u64 {
        let value = hex::encode(number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes().repeat(2));
        redactor.register(&format!("secret {number}"), &Secret::new(value));
    }
    let path = dir.join("measure.log");
    let log = Log::create(&path, redactor, Clock::system(), USUAL_CAP)?;
    let piece = (0..700).map(request).collect::<String>().into_bytes();
    let (began, mut written) = (Instant::now(), 0);
    while written < bytes {
        log.chunk(StageName::Install, Stream::Out, &piece);
        written += piece.len() as u64;
    }
    let ingest = began.elapsed();
    let began = Instant::now();
    log.close_now()?;
    let close = began.elapsed();
    let packed = packed_path(&path).metadata()?.len();
    std::fs::remove_file(packed_path(&path))?;
    Ok(Measured { bytes: written, ingest, close, packed })
}

fn request(number: u32) -> String {
    let (path, size) = (number.wrapping_mul(2_654_435_761) % 1000, number.wrapping_mul(40_503) % 65_536);
    format!(
        "10.0.1.{} - - \"GET /notes/{path} HTTP/1.1\" 200 {size} \"-\" \"curl/8.5.0\" rt=0.{number:03}\n",
        number % 250
    )
}

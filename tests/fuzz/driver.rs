//! Changes what is known, tries it, and keeps what was answered in a way not seen before.
//!
//! There is no coverage to go by: a target says in a word what became of an input (a rule, a kind of error, a count), and
//! an input that gets a new word is changed further. The same seed tries the same inputs on any machine.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// What is tried, and how.
pub(crate) struct Target {
    pub(crate) name: &'static str,
    /// What inputs are made from, besides those that were kept.
    pub(crate) seeds: fn() -> Vec<Vec<u8>>,
    /// Words that mean something in it.
    pub(crate) words: &'static [&'static str],
    /// Panics where a promise is broken; else says in a word what became of the input.
    pub(crate) attempt: fn(&[u8]) -> String,
}

/// How long to go on.
pub(crate) enum Until {
    Tried(u64),
    Passed(Duration),
}

impl Until {
    fn is_reached(&self, tried: u64, started: Instant) -> bool {
        match self {
            Until::Tried(most) => tried >= *most,
            Until::Passed(span) => started.elapsed() >= *span,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) tried: u64,
    /// Answers that nothing before had got.
    pub(crate) kept: Vec<Vec<u8>>,
    pub(crate) slowest: Duration,
}

/// No input is longer.
const LONGEST: usize = 32 << 10;
/// Of the processor's time, in a build without optimisation. A bomb would take minutes, or all memory.
const SLOWEST: Duration = Duration::from_secs(10);
/// Inputs that are changed further.
const MOST: usize = 4096;

/// Where the inputs lie that were kept.
pub(crate) fn corpus_of(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target.name)
}

/// Tries what is known, then changes of it.
pub(crate) fn fuzz(target: &Target, seed: u64, until: Until) -> Tally {
    let started = Instant::now();
    let mut dice = Dice(seed);
    let mut seen = BTreeSet::new();
    let mut tally = Tally { tried: 0, kept: Vec::new(), slowest: Duration::ZERO };
    let mut pool = known(target);
    assert!(!pool.is_empty(), "{} has nothing to begin with", target.name);
    for input in &pool {
        seen.insert(tally.attempt(target, input));
    }
    let known = tally.tried;
    while !until.is_reached(tally.tried - known, started) {
        let input = changed(&pool, target.words, &mut dice);
        if seen.insert(tally.attempt(target, &input)) && pool.len() < MOST {
            tally.kept.push(input.clone());
            pool.push(input);
        }
    }
    tally
}

fn known(target: &Target) -> Vec<Vec<u8>> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(corpus_of(target)).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    files.sort();
    let mut inputs = (target.seeds)();
    inputs.extend(files.iter().map(|file| std::fs::read(file).unwrap()));
    inputs
}

impl Tally {
    fn attempt(&mut self, target: &Target, input: &[u8]) -> String {
        // What ends the whole process, such as a stack without end, leaves this behind.
        let last = std::env::temp_dir().join(format!("cc-ci-fuzz-{}-{}", std::process::id(), target.name));
        std::fs::write(&last, input).unwrap();
        let started = processor_time();
        let answer = catch_unwind(AssertUnwindSafe(|| (target.attempt)(input)));
        let took = processor_time().saturating_sub(started);
        self.tried += 1;
        self.slowest = self.slowest.max(took);
        let shown: String = String::from_utf8_lossy(input).chars().take(2000).collect();
        let Ok(answer) = answer else { panic!("{}: {} breaks it: {shown:?}", target.name, last.display()) };
        assert!(took < SLOWEST, "{}: {} takes {took:?}: {shown:?}", target.name, last.display());
        std::fs::remove_file(last).unwrap();
        answer
    }
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap())
}

/// One of those that are known, after a few changes.
fn changed(pool: &[Vec<u8>], words: &[&str], dice: &mut Dice) -> Vec<u8> {
    let mut input = dice.one_of(pool).clone();
    for _ in 0..=dice.below(4) {
        change(&mut input, pool, words, dice);
    }
    input.truncate(LONGEST);
    input
}

fn change(input: &mut Vec<u8>, pool: &[Vec<u8>], words: &[&str], dice: &mut Dice) {
    let at = dice.below(input.len() + 1);
    let to = (at + 1 + dice.below(12)).min(input.len());
    match dice.below(14) {
        0 if at < input.len() => input[at] ^= 1 << dice.below(8),
        1 if at < input.len() => input[at] = *dice.one_of(b"\0\t\n\r :-#&*!|>'\"%@`{}[],?$/\\~0a\x7f\x80\xff"),
        2 => drop(input.drain(at.min(to)..to)),
        3 => drop(input.splice(at..at, dice.one_of(words).bytes())),
        4 => drop(input.splice(at.min(to)..to, dice.one_of(words).bytes())),
        5 => {
            let piece = input[at.min(to)..to].repeat(1 + dice.below(64));
            drop(input.splice(at..at, piece));
        }
        6 => {
            let other = dice.one_of(pool);
            let from = dice.below(other.len() + 1);
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
        7 => by_lines(input, |lines, dice| lines.swap(dice.0, dice.1), dice),
        8 => by_lines(input, |lines, dice| lines[dice.0] = lines[dice.1].clone(), dice),
        9 => by_lines(input, |lines, dice| lines.insert(dice.0, lines[dice.1].clone()), dice),
        10 => by_lines(input, |lines, dice| drop(lines.remove(dice.0)), dice),
        11 => by_lines(input, |lines, dice| drop(lines[dice.0].splice(0..0, *b"  ")), dice),
        12 => by_lines(input, |lines, dice| lines[dice.0] = lines[dice.0].trim_ascii_start().to_vec(), dice),
        // A line of another input, where one of this was.
        _ => {
            let other = dice.one_of(pool).split(|byte| *byte == b'\n').collect::<Vec<_>>();
            let line = dice.one_of(&other).to_vec();
            by_lines(input, |lines, dice| lines.insert(dice.0, line.clone()), dice);
        }
    }
}

/// Changes lines: two are drawn.
fn by_lines(input: &mut Vec<u8>, change: impl Fn(&mut Vec<Vec<u8>>, (usize, usize)), dice: &mut Dice) {
    let mut lines: Vec<Vec<u8>> = input.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    let drawn = (dice.below(lines.len()), dice.below(lines.len()));
    change(&mut lines, drawn);
    *input = lines.join(&b'\n');
}

/// SplitMix64: the same throws for the same seed.
pub(crate) struct Dice(u64);

impl Dice {
    fn throw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, most: usize) -> usize {
        usize::try_from(self.throw() % most as u64).unwrap()
    }

    fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

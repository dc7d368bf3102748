use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::sandbox::Stream::{Err as Error, Out};
use crate::secrets::Secret;
use StageName::{Fetch, Install, Lint};

const RUN: RunId = RunId(7);

struct House {
    dir: tempfile::TempDir,
    redactor: Redactor,
    clock: Clock,
}

fn house() -> House {
    let clock = Clock::held(Time(1_767_323_045_678));
    House { dir: tempfile::tempdir().unwrap(), redactor: Redactor::new(), clock }
}

impl House {
    fn log(&self, cap: u64) -> Log {
        Log::create(&path(self.dir.path(), RUN), self.redactor.clone(), self.clock.clone(), cap).unwrap()
    }

    fn reader(&self) -> LogReader {
        open(self.dir.path(), RUN).unwrap()
    }

    fn text(&self) -> String {
        let mut reader = self.reader();
        let length = usize::try_from(reader.len().unwrap()).unwrap();
        String::from_utf8(reader.read_at(0, length).unwrap()).unwrap()
    }

    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path()).unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort_unstable();
        names
    }
}

#[tokio::test]
async fn a_log_tells_who_said_what_when() {
    let house = house();
    let log = house.log(USUAL_CAP);
    log.stage(Fetch, "started");
    log.chunk(Fetch, Out, b"Cloning\ninto");
    log.chunk(Fetch, Error, b"warning: slow\n");
    house.clock.advance(Duration::from_secs(1));
    log.chunk(Fetch, Out, b" it\nno end");
    log.line(Fetch, "two lines\nof ours");
    log.stage(Fetch, "passed");
    let expected = "\
2026-01-02T03:04:05.678Z fetch ci == started
2026-01-02T03:04:05.678Z fetch out Cloning
2026-01-02T03:04:05.678Z fetch err warning: slow
2026-01-02T03:04:06.678Z fetch out into it
2026-01-02T03:04:06.678Z fetch ci two lines
2026-01-02T03:04:06.678Z fetch ci of ours
2026-01-02T03:04:06.678Z fetch out no end
2026-01-02T03:04:06.678Z fetch ci == passed
";
    assert_eq!(house.text(), expected);
    log.close().await.unwrap();
    assert_eq!(house.files(), ["7.log.zst"]);
    assert_eq!(house.text(), expected);

    let text = house.text();
    let line = Line::parse(text.lines().next_back().unwrap()).unwrap();
    assert_eq!((line.stage, line.stream, line.text, line.mark()), (Fetch, "ci", "== passed", Some("passed")));
    assert_eq!(Line::parse("== passed"), None);
    log.line(Fetch, "too late");
    assert_eq!(house.text(), expected);
}

#[tokio::test]
async fn a_secret_never_reaches_the_disk_however_it_is_cut_or_coloured() {
    let house = house();
    house.redactor.register("token", &Secret::new("hunter2hunter2"));
    let log = house.log(USUAL_CAP);
    log.chunk(Install, Out, b"a hunter2h");
    log.chunk(Install, Error, b"unter2 b\n");
    log.chunk(Install, Out, b"unter2 b\nhunt\x1b[1mer2hunter2 c\nhunter2h");
    log.line(Install, "hunter2hunter2");
    log.settle(Install);
    assert!(!house.text().contains("hunter2hunter2"));
    assert_eq!(house.text().matches("[secret token]").count(), 3, "{}", house.text());
    assert!(log.tail(10).iter().all(|line| !line.contains("hunter2hunter2")));
}

#[tokio::test]
async fn a_line_keeps_its_colours_and_needs_no_other_line_for_them() {
    let house = house();
    house.redactor.register("token", &Secret::new("hunter2hunter2"));
    let log = house.log(USUAL_CAP);
    log.chunk(
        Install,
        Out,
        b"\x1b[1;31mred\n\nstill \x1b[0mplain\n\x1b]0;t\x07a\x1b[Kb hunter\x1b[38;5;2m2hunter2 c\x1b[m\n",
    );
    log.line(Install, "\x1b[31m== passed");
    log.settle(Install);
    let head = "2026-01-02T03:04:05.678Z install";
    let expected = format!(
        "{head} out \x1b[1;31mred\x1b[m\n{head} out \n{head} out \x1b[1;31mstill \x1b[mplain\n\
         {head} out ab [secret token]\x1b[32m c\x1b[m\n{head} ci \x1b[31m== passed\x1b[m\n"
    );
    assert_eq!(house.text(), expected);
    assert!(house.text().lines().all(|line| Line::parse(line).unwrap().mark().is_none()), "a colour makes no mark");
    let plain = format!("{head} out ab [secret token] c");
    assert_eq!(log.tail(2)[0], plain);
    log.close().await.unwrap();
    assert_eq!(house.reader().stage_tail(Install, 2).unwrap()[0], plain);
}

proptest! {
    #[test]
    fn no_colour_hides_a_secret_wherever_it_stands(
        codes in proptest::collection::vec((0usize..24, "\x1b\\[[0-9;]{0,6}m"), 0..6),
        cut in 0usize..80,
    ) {
        const SECRET: &str = "hunter2hunter2";
        let house = house();
        house.redactor.register("token", &Secret::new(SECRET));
        let mut said = format!("says {SECRET} here");
        for (at, code) in codes {
            // Never into a code that stands there already.
            let places: Vec<usize> = said.match_indices(|letter: char| letter.is_ascii_alphabetic() && letter != 'm').map(|(at, _)| at).collect();
            said.insert_str(places[at % places.len()], &code);
        }
        let log = house.log(USUAL_CAP);
        let (front, back) = said.as_bytes().split_at(cut % said.len());
        log.chunk(Install, Out, front);
        log.chunk(Install, Out, back);
        log.settle(Install);
        let text = house.text();
        prop_assert!(!colour::plain(&text).contains(SECRET), "{text:?}");
        prop_assert!(text.contains("[secret token]"), "{text:?}");
    }
}

#[tokio::test]
async fn what_is_no_text_and_what_never_ends_become_lines() {
    let house = house();
    let log = house.log(USUAL_CAP);
    log.chunk(Install, Out, b"\xff\x1b]0;title\x07\rprogress\r\n");
    log.chunk(Install, Out, "ö".repeat(30_000).as_bytes());
    log.settle(Install);
    let text = house.text();
    let texts: Vec<&str> = text.lines().map(|line| Line::parse(line).unwrap().text).collect();
    assert_eq!(texts[..2], ["\u{fffd}", "progress"]);
    assert_eq!(texts[2..].concat(), "ö".repeat(30_000));
    assert!(texts.iter().all(|text| text.len() <= LONGEST_LINE));
}

#[tokio::test]
async fn a_long_log_keeps_its_beginning_and_its_end() {
    let house = house();
    let log = house.log(64 << 10);
    let mut growing = house.reader();
    for number in 0..20_000 {
        log.chunk(Install, Out, format!("line {number}\n").as_bytes());
        if number % 1000 == 0 {
            let size: u64 =
                fs::read_dir(house.dir.path()).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum();
            assert!(size <= (64 << 10) + 1000, "{size}");
        }
    }
    let before = growing.len().unwrap();
    let seen = growing.read_at(0, usize::MAX).unwrap();
    assert!(String::from_utf8_lossy(&seen).ends_with("== this log is long; it goes on here when the run has ended\n"));
    assert!(house.reader().tail(1).unwrap()[0].ends_with("line 19999"));
    assert!(log.tail(2)[0].ends_with("line 19998"));
    log.close().await.unwrap();

    let text = house.text();
    assert!(text.as_bytes().starts_with(&seen) && before == seen.len() as u64, "places moved");
    assert!(text.lines().next().unwrap().ends_with("line 0") && text.ends_with("line 19999\n"));
    let cut = text.lines().find(|line| line.ends_with("bytes are left out here")).unwrap();
    let left_out: usize = cut.split(' ').nth(4).unwrap().parse().unwrap();
    let kept: usize = text.lines().filter(|line| line.contains(" install out ")).map(|line| line.len() + 1).sum();
    let whole: usize =
        (0..20_000).map(|number| format!("2026-01-02T03:04:05.678Z install out line {number}\n").len()).sum();
    assert_eq!(kept + left_out, whole);
    assert!(text.len() <= (64 << 10) + 1000 && text.len() >= 40 << 10, "{}", text.len());
    assert_eq!(house.files(), ["7.log.zst"]);
}

#[tokio::test]
async fn a_follower_gets_every_line_once_across_the_closing() {
    let house = house();
    let log = house.log(USUAL_CAP);
    let mut blind = follow(house.dir.path(), RUN, 0, None);
    let mut woken = follow(house.dir.path(), RUN, 0, Some(log.grown()));
    let writer = tokio::spawn(async move {
        for number in 0..5000 {
            log.chunk(Install, Out, format!("line {number}\n").as_bytes());
            if number % 100 == 0 {
                tokio::task::yield_now().await;
            }
        }
        log.close().await.unwrap();
    });
    for follower in [&mut blind, &mut woken] {
        let (mut text, mut place) = (String::new(), 0);
        while let Some(piece) = follower.next().await.unwrap() {
            assert_eq!(piece.offset, place);
            place = piece.next;
            text.push_str(&piece.text);
        }
        let numbers: Vec<String> = text.lines().map(|line| Line::parse(line).unwrap().text.to_owned()).collect();
        assert_eq!(numbers, (0..5000).map(|number| format!("line {number}")).collect::<Vec<_>>());
    }
    writer.await.unwrap();
}

#[tokio::test]
async fn a_follower_may_come_before_the_log() {
    let house = house();
    let mut follower = follow(house.dir.path(), RUN, 0, None);
    let (piece, ()) = tokio::join!(follower.next(), async { house.log(USUAL_CAP).line(Fetch, "first") });
    assert!(piece.unwrap().unwrap().text.ends_with("first\n"));
}

#[tokio::test]
async fn a_log_whose_writer_died_is_closed_or_gone_on_with() {
    let house = house();
    let log = house.log(8 << 10);
    for number in 0..1000 {
        log.chunk(Install, Out, format!("line {number}\n").as_bytes());
    }
    drop(log);
    // The last write was torn.
    let (_, tail) = tails_of(&path(house.dir.path(), RUN)).unwrap().pop().unwrap();
    let length = fs::metadata(&tail).unwrap().len();
    fs::OpenOptions::new().write(true).open(tail).unwrap().set_len(length - 3).unwrap();

    let log = Log::reopen(&path(house.dir.path(), RUN), house.redactor.clone(), house.clock.clone(), 8 << 10).unwrap();
    log.line(Install, "torn down after a crash");
    drop(log);
    close_abandoned(house.dir.path(), RUN).unwrap();
    close_abandoned(house.dir.path(), RUN).unwrap();
    let last = house.reader().tail(3).unwrap();
    assert!(
        last[0].ends_with("line 998") && last[1].ends_with("line 9") && last[2].ends_with("torn down after a crash"),
        "{last:?}"
    );
    assert_eq!(house.files(), ["7.log.zst"]);
    close_abandoned(house.dir.path(), RunId(8)).unwrap();
    remove(house.dir.path(), RUN).unwrap();
    assert!(house.files().is_empty());
}

#[test]
fn a_crash_while_packing_is_mended() {
    let house = house();
    let log = house.log(USUAL_CAP);
    log.line(Install, "all of it");
    let open = path(house.dir.path(), RUN);
    fs::write(with_suffix(&open, ".zst.new"), "half of it").unwrap();
    let kept = fs::read(&open).unwrap();
    log.close_now().unwrap();
    assert_eq!(house.files(), ["7.log.zst"]);
    // Renamed, but not yet removed.
    fs::write(&open, kept).unwrap();
    assert!(house.reader().is_closed().unwrap());
    close_abandoned(house.dir.path(), RUN).unwrap();
    assert_eq!(house.files(), ["7.log.zst"]);
}

#[test]
fn a_damaged_file_is_an_error_and_no_more() {
    let house = house();
    let log = house.log(USUAL_CAP);
    log.line(Install, "something");
    log.close_now().unwrap();
    let packed = packed_path(&path(house.dir.path(), RUN));
    let good = fs::read(&packed).unwrap();
    for length in 0..good.len() {
        fs::write(&packed, &good[..length]).unwrap();
        assert!(open(house.dir.path(), RUN).is_err(), "{length}");
    }
    for place in 0..good.len() {
        let mut bad = good.clone();
        bad[place] ^= 0xff;
        fs::write(&packed, bad).unwrap();
        if let Ok(mut reader) = open(house.dir.path(), RUN) {
            let _ = (reader.read_at(0, 1000), reader.tail(5), reader.lines(1, 5));
        }
    }
}

#[test]
fn a_full_disk_is_told_and_survived() {
    let house = house();
    let log = house.log(USUAL_CAP);
    log.line(Install, "before");
    // A file that takes no more, as on a full disk.
    let path = path(house.dir.path(), RUN);
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();
    let full = Log::reopen(&path, house.redactor.clone(), house.clock.clone(), USUAL_CAP).unwrap();
    full.line(Install, "lost");
    assert!(full.fault().unwrap().contains("No space left"), "{:?}", full.fault());
    assert!(full.tail(1)[0].ends_with("lost"));
}

#[test]
fn a_usual_log_is_small_when_closed_and_fast_to_take_in() {
    let dir = tempfile::tempdir().unwrap();
    let measured = measure(dir.path(), 14_500_000).unwrap();
    assert!(measured.packed < 1_000_000, "{measured:?}");
    println!("{measured:?} {:.0} MB/s", measured.rate());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_way_of_reading_agrees_before_and_after_the_closing(
        lines in proptest::collection::vec(("[a-zäö ]{0,300}", 0usize..3), 1..80),
        repeat in 1usize..60,
        from in any::<u64>(), count in 0usize..50, offset in any::<u64>(), most in 0usize..1_000_000,
    ) {
        let house = house();
        let log = house.log(USUAL_CAP);
        for _ in 0..repeat {
            for (line, stage) in &lines {
                log.chunk([Fetch, Lint, Install][*stage], Out, format!("{line}\n").as_bytes());
            }
        }
        let text = house.text();
        let all: Vec<&str> = text.lines().collect();
        prop_assert_eq!(all.len(), lines.len() * repeat);
        for closed in [false, true] {
            if closed {
                log.close_now().unwrap();
            }
            let mut reader = house.reader();
            prop_assert_eq!(reader.is_closed().unwrap(), closed);
            prop_assert_eq!(reader.len().unwrap(), text.len() as u64);
            prop_assert_eq!(reader.line_count().unwrap(), all.len() as u64);
            let from = from % (all.len() as u64 + 2);
            let wanted: Vec<&str> = all.iter().skip(usize::try_from(from.max(1) - 1).unwrap()).take(count).copied().collect();
            prop_assert_eq!(reader.lines(from, count).unwrap(), wanted);
            prop_assert_eq!(reader.tail(count).unwrap(), &all[all.len().saturating_sub(count)..]);
            let of_lint: Vec<&str> = all.iter().filter(|line| line.contains("Z lint out ")).copied().collect();
            prop_assert_eq!(reader.stage_tail(Lint, count).unwrap(), &of_lint[of_lint.len().saturating_sub(count)..]);
            let offset = usize::try_from(offset % (text.len() as u64 + 10)).unwrap();
            let end = offset.saturating_add(most).min(text.len());
            prop_assert_eq!(reader.read_at(offset as u64, most).unwrap(), text.as_bytes().get(offset..end).unwrap_or_default());
        }
    }
}

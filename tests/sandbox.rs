//! Nothing that was started survives its end, whatever it does to get away. Real processes, no mocks.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use cc_ci::sandbox::{self, Command, Ended, Exit, SpawnError, Stream, kill_remains};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use tokio_util::sync::CancellationToken;

/// How long something may take that takes milliseconds on a quiet machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts every kind of runaway, each a `sleep` of `$1` seconds, says so, and waits.
const RUNAWAYS: &str = r#"
    trap '' TERM HUP INT
    sleep $1 &
    setsid sleep $1 &
    (setsid sh -c 'trap "" TERM HUP; (sleep $0 & sleep $0) &' $1 &) &
    (nohup sh -c '(setsid sleep $0 >/dev/null 2>&1 <&- &)' $1 >/dev/null 2>&1 &)
    (env -i setsid setsid -f sleep $1 </dev/null >/dev/null 2>&1)
    while [ "$(pgrep -cx -f "sleep $1")" -lt 6 ]; do :; done
    echo ready
    sleep $1
"#;

fn shell(script: &str) -> Command {
    sandbox::warden_is_at(env!("CARGO_BIN_EXE_cc-ci"));
    Command::new("/bin/sh").args(["-c", script, "sh"]).env("PATH", "/usr/bin:/bin")
}

/// A number of seconds that no other test sleeps.
fn own_seconds(test: u32) -> String {
    format!("{}.{test}", 100_000 + std::process::id())
}

fn sleepers(seconds: &str) -> Vec<OwnedFd> {
    let wanted = format!("sleep\0{seconds}\0");
    let entries = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line == wanted.as_bytes()))
        .filter_map(|pid| pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok())
        .collect()
}

/// Waits for their deaths as events.
fn all_die(sleepers: Vec<OwnedFd>) {
    let patience = Timespec { tv_sec: 60, tv_nsec: 0 };
    for sleeper in sleepers {
        let died = loop {
            match poll(&mut [PollFd::new(&sleeper, PollFlags::IN)], Some(&patience)) {
                Err(rustix::io::Errno::INTR) => {}
                died => break died,
            }
        };
        assert_eq!(died, Ok(1), "a process survived");
    }
}

/// Runs it; cancels when it says `ready`.
async fn until_ready(command: Command) -> Result<Exit, SpawnError> {
    let cancel = CancellationToken::new();
    let mut text = String::new();
    sandbox::run(&command.limit(PATIENCE), &cancel.clone(), &mut |_, bytes| {
        text.push_str(&String::from_utf8_lossy(bytes));
        if text.contains("ready") {
            cancel.cancel();
        }
    })
    .await
}

async fn output(command: Command) -> sandbox::Output {
    sandbox::output(&command.limit(PATIENCE), &CancellationToken::new(), 1 << 20).await.unwrap()
}

#[tokio::test]
async fn both_streams_and_the_code_come_through_and_the_environment_starts_empty() {
    let got = output(shell("echo out; echo err >&2; env; exit 7").env("SEEN", "a b")).await;
    let stdout = String::from_utf8(got.stdout).unwrap();
    assert!(stdout.starts_with("out\n"), "{stdout}");
    assert_eq!(got.stderr, b"err\n");
    assert_eq!((got.exit.code, got.exit.signal, got.exit.ended), (Some(7), None, Ended::ByItself));
    let mut names: Vec<&str> = stdout.lines().skip(1).filter_map(|line| Some(line.split_once('=')?.0)).collect();
    names.sort_unstable();
    names.retain(|name| !["_", "PWD", "OLDPWD", "SHLVL"].contains(name));
    assert_eq!(names, ["CC_CI_TREE", "PATH", "SEEN"]);
}

#[tokio::test]
async fn a_signal_is_told_from_a_code() {
    let got = output(shell("kill -SEGV $$")).await;
    assert_eq!((got.exit.code, got.exit.signal), (None, Some(11)));
}

#[tokio::test]
async fn standard_input_is_given_whole_or_empty() {
    let got = output(shell("wc -c").stdin(vec![b'x'; 3_000_000])).await;
    assert_eq!(got.stdout.trim_ascii(), b"3000000");
    assert_eq!(output(shell("cat; echo end")).await.stdout, b"end\n");
    // One that does not read it is no trouble.
    assert_eq!(output(shell("exec <&-; exit 4").stdin(vec![b'x'; 3_000_000])).await.exit.code, Some(4));
}

#[tokio::test]
async fn what_cannot_be_started_says_so() {
    sandbox::warden_is_at(env!("CARGO_BIN_EXE_cc-ci"));
    let cancel = CancellationToken::new();
    let missing = sandbox::output(&Command::new("no-such-program-here"), &cancel, 10).await.unwrap_err();
    assert!(matches!(&missing, SpawnError::NotFound { program } if program == "no-such-program-here"), "{missing}");
    let no_dir = sandbox::output(&Command::new("/bin/true").cwd("/no/such/dir"), &cancel, 10).await.unwrap_err();
    assert!(no_dir.to_string().contains("there is no directory /no/such/dir"), "{no_dir}");
    let no_program = sandbox::output(&Command::new("/etc/passwd"), &cancel, 10).await.unwrap_err();
    assert!(matches!(no_program, SpawnError::NotStarted { .. }), "{no_program}");
}

#[tokio::test]
async fn every_runaway_dies_when_it_is_cancelled() {
    let seconds = own_seconds(1);
    let exit = until_ready(shell(RUNAWAYS).arg(&seconds)).await.unwrap();
    assert_eq!(exit.ended, Ended::Cancelled);
    assert_eq!(sleepers(&seconds).len(), 0);
}

#[tokio::test]
async fn every_runaway_dies_where_no_group_can_be_made() {
    let seconds = own_seconds(2);
    let exit = until_ready(shell(RUNAWAYS).arg(&seconds).without_group()).await.unwrap();
    assert_eq!(exit.ended, Ended::Cancelled);
    assert_eq!(sleepers(&seconds).len(), 0);
}

#[tokio::test]
async fn what_a_command_leaves_behind_dies_with_it_and_holds_nobody_up() {
    let seconds = own_seconds(3);
    for command in [shell("sleep $1 & setsid sleep $1 & exit 3"), shell("sleep $1 & exit 3").without_group()] {
        let got = output(command.arg(&seconds)).await;
        assert_eq!((got.exit.code, got.exit.ended), (Some(3), Ended::ByItself));
        assert_eq!(sleepers(&seconds).len(), 0);
    }
}

#[tokio::test]
async fn one_that_forks_away_all_the_time_is_caught() {
    let rabbit = "f() { (f &) ; }; (sleep $1 &) ; f; f; echo ready; read -r line";
    for (test, command) in [(4, shell(rabbit)), (5, shell(rabbit).without_group())] {
        let seconds = own_seconds(test);
        let exit = until_ready(command.arg(&seconds)).await.unwrap();
        assert_eq!(sleepers(&seconds).len(), 0);
        assert!(exit.took < PATIENCE, "{exit:?}");
    }
}

#[tokio::test]
async fn limits_end_it() {
    let cancel = CancellationToken::new();
    let slow = shell("while :; do echo tick; sleep 0.01; done").limit(Duration::from_millis(300));
    let exit = sandbox::output(&slow, &cancel, 1 << 20).await.unwrap().exit;
    assert_eq!(exit.ended, Ended::Limit);
    assert!(exit.took >= Duration::from_millis(300));

    let silent = shell("echo once; sleep 1000").limit(PATIENCE).silence(Duration::from_millis(200));
    let got = sandbox::output(&silent, &cancel, 100).await.unwrap();
    assert_eq!((got.exit.ended, got.stdout.as_slice()), (Ended::Silence, b"once\n".as_slice()));

    // Closing both streams is no way out.
    let closed = shell("exec >&- 2>&- <&-; sleep 1000").limit(Duration::from_millis(300));
    assert_eq!(sandbox::output(&closed, &cancel, 100).await.unwrap().exit.ended, Ended::Limit);
}

#[tokio::test]
async fn a_flood_is_kept_to_its_beginning_and_a_large_file_is_stopped() {
    let got = sandbox::output(&shell("head -c 50000000 /dev/zero"), &CancellationToken::new(), 1000).await.unwrap();
    assert_eq!((got.stdout.len(), got.cut, got.exit.code), (1000, true, Some(0)));
    let dir = tempfile::tempdir().unwrap();
    let got =
        output(shell("head -c 5000000 /dev/zero > big; ls -s big >/dev/null").cwd(dir.path()).largest_file(1 << 20))
            .await;
    assert!(!got.exit.is_success() || fs::metadata(dir.path().join("big")).unwrap().len() <= 1 << 20);
    assert_eq!(fs::metadata(dir.path().join("big")).unwrap().len(), 1 << 20);
}

#[tokio::test]
async fn a_terminal_is_a_terminal() {
    let got =
        output(shell("test -t 0 && test -t 1 && test -t 2 && echo yes && tty && echo x >/dev/tty; exit 5").pty(true))
            .await;
    let text = String::from_utf8(got.stdout).unwrap();
    assert!(text.starts_with("yes\n/dev/pts/") && text.ends_with("\nx\n"), "{text:?}");
    assert_eq!(got.exit.code, Some(5));
    let got =
        output(shell("read -r line; echo \"got $line\"; read -r more || echo end").stdin(b"word\n".to_vec()).pty(true))
            .await;
    assert_eq!(String::from_utf8(got.stdout).unwrap(), "got word\nend\n");
    let seconds = own_seconds(6);
    let exit = until_ready(shell(RUNAWAYS).arg(&seconds).pty(true)).await.unwrap();
    assert_eq!((exit.ended, sleepers(&seconds).len()), (Ended::Cancelled, 0));
}

#[tokio::test]
async fn a_future_that_is_dropped_ends_its_tree() {
    let seconds = own_seconds(7);
    let (command, cancel) = (shell(RUNAWAYS).arg(&seconds), CancellationToken::new());
    let ready = CancellationToken::new();
    let mut text = String::new();
    let mut sink = |_: Stream, bytes: &[u8]| {
        text.push_str(&String::from_utf8_lossy(bytes));
        if text.contains("ready") {
            ready.cancel();
        }
    };
    let seen = tokio::select! {
        _ = sandbox::run(&command, &cancel, &mut sink) => Vec::new(),
        () = ready.cancelled() => sleepers(&seconds),
    };
    assert!(seen.len() >= 6, "{}", seen.len());
    tokio::task::spawn_blocking(move || all_die(seen)).await.unwrap();
}

#[tokio::test]
async fn a_tree_dies_without_its_warden_too() {
    for (test, group) in [(8, true), (9, false)] {
        let seconds = own_seconds(test);
        // Its parent is the warden.
        let killer = shell("sleep $1 & setsid sleep $1 & kill -9 $PPID; sleep $1").arg(&seconds);
        let killer = if group { killer } else { killer.without_group() };
        let lost = sandbox::output(&killer, &CancellationToken::new(), 100).await.unwrap_err();
        assert!(matches!(lost, SpawnError::WardenLost { status, .. } if status.signal() == Some(9)), "{lost}");
        assert_eq!(sleepers(&seconds).len(), 0);
    }
}

#[tokio::test]
async fn a_child_cannot_hold_its_warden() {
    let seconds = own_seconds(16);
    let began = Instant::now();
    let once = shell("kill -STOP $PPID; sleep $1").arg(&seconds).limit(Duration::from_millis(300));
    let exit = sandbox::output(&once, &CancellationToken::new(), 100).await.unwrap().exit;
    assert_eq!((exit.ended, sleepers(&seconds).len()), (Ended::Limit, 0));
    assert!(began.elapsed() < Duration::from_secs(9), "others had to do it");
    let again = shell("trap '' TERM; while :; do kill -STOP $PPID; done & sleep $1")
        .arg(&seconds)
        .limit(Duration::from_millis(300));
    let exit = sandbox::output(&again.without_group(), &CancellationToken::new(), 100).await.unwrap().exit;
    assert_eq!((exit.ended, sleepers(&seconds).len()), (Ended::Limit, 0));
}

#[tokio::test]
async fn many_at_once_do_not_disturb_each_other() {
    let runs = (0..20).map(|number| {
        tokio::spawn(async move {
            output(shell("cat; exit $1").arg(number.to_string()).stdin(vec![b'0' + number; 70_000])).await
        })
    });
    for (number, run) in runs.collect::<Vec<_>>().into_iter().enumerate() {
        let got = run.await.unwrap();
        assert_eq!(got.exit.code, i32::try_from(number).ok());
        assert!(
            got.stdout.len() == 70_000
                && got.stdout.iter().all(|&byte| usize::from(byte) == usize::from(b'0') + number)
        );
    }
}

/// Not a test of its own: the process that the two below kill.
#[tokio::test]
#[ignore = "is run by other tests"]
async fn owner_for_killing() {
    let (Ok(seconds), Ok(state)) = (std::env::var("SANDBOX_SECONDS"), std::env::var("SANDBOX_STATE")) else { return };
    kill_remains(Path::new(&state));
    let mut command = shell(RUNAWAYS).arg(seconds).limit(PATIENCE);
    if std::env::var_os("SANDBOX_NO_GROUP").is_some() {
        command = command.without_group();
    }
    let _ = sandbox::run(&command, &CancellationToken::new(), &mut |_, bytes| {
        println!("\n{}", String::from_utf8_lossy(bytes));
    })
    .await;
}

#[tokio::test]
async fn a_tree_within_a_tree_dies_with_it() {
    for (test, group) in [(14, true), (15, false)] {
        let (seconds, state) = (own_seconds(test), tempfile::tempdir().unwrap());
        let command = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "owner_for_killing", "--nocapture"])
            .env("SANDBOX_SECONDS", &seconds)
            .env("SANDBOX_STATE", state.path());
        let command = if group { command } else { command.env("SANDBOX_NO_GROUP", "1").without_group() };
        assert_eq!(until_ready(command).await.unwrap().ended, Ended::Cancelled);
        assert_eq!(sleepers(&seconds).len(), 0);
    }
}

#[tokio::test]
async fn what_is_cancelled_before_it_begins_never_does() {
    let cancel = CancellationToken::new();
    cancel.cancel();
    let output = sandbox::output(&shell("echo begun").limit(Duration::MAX), &cancel, 100).await.unwrap();
    assert_eq!((output.exit.ended, output.stdout.len()), (Ended::Cancelled, 0));
    assert_eq!(self::output(shell("echo begun").limit(Duration::MAX).silence(Duration::MAX)).await.exit.code, Some(0));
}

/// Starts such a process and waits until its tree stands.
#[expect(clippy::disallowed_methods, reason = "stands for the program itself, which nobody watches over")]
fn owner(seconds: &str, state: &Path, group: bool) -> std::process::Child {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "owner_for_killing", "--nocapture"]);
    command.env("SANDBOX_SECONDS", seconds).env("SANDBOX_STATE", state).stdout(Stdio::piped());
    if !group {
        command.env("SANDBOX_NO_GROUP", "1");
    }
    let mut child = command.spawn().unwrap();
    // The pipe stays open: writing into a closed one would end the owner.
    let lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line == "ready"), "the tree never stood");
    child
}

#[test]
fn killing_us_with_9_kills_the_tree() {
    for (test, group) in [(10, true), (11, false)] {
        let (seconds, state) = (own_seconds(test), tempfile::tempdir().unwrap());
        let mut owner = owner(&seconds, state.path(), group);
        let seen = sleepers(&seconds);
        assert!(seen.len() >= 6, "{}", seen.len());
        owner.kill().unwrap();
        owner.wait().unwrap();
        all_die(seen);
        // The script's own last one may have begun after the count.
        all_die(sleepers(&seconds));
        assert_eq!(sleepers(&seconds).len(), 0);
    }
}

#[test]
fn the_next_start_ends_what_is_left_and_spares_the_living() {
    let (seconds, state) = (own_seconds(12), tempfile::tempdir().unwrap());
    let (other_seconds, other_state) = (own_seconds(13), tempfile::tempdir().unwrap());
    let mut dead = owner(&seconds, state.path(), true);
    let mut living = owner(&other_seconds, other_state.path(), true);

    // A warden that is stopped does nothing, and only it knows those that hide their mark.
    let warden = wardens_of(dead.id());
    kill_process(warden, Signal::STOP).unwrap();
    assert_eq!(kill_remains(state.path()).left, 0, "its owner lives");
    let seen = sleepers(&seconds);
    assert!(seen.len() >= 6, "the owner lives, so its tree is its own: {}", seen.len());
    dead.kill().unwrap();
    dead.wait().unwrap();

    let began = Instant::now();
    let remains = kill_remains(state.path());
    assert!(remains.found >= 6 && remains.left == 0, "{remains:?}");
    all_die(seen);
    assert!(began.elapsed() < PATIENCE);
    assert!(sleepers(&other_seconds).len() >= 6, "another's tree was touched");
    let others = sleepers(&other_seconds);
    living.kill().unwrap();
    living.wait().unwrap();
    all_die(others);
}

fn wardens_of(owner: u32) -> Pid {
    let children = fs::read_to_string(format!("/proc/{owner}/task/{owner}/children")).unwrap_or_default();
    let by_task = fs::read_dir(format!("/proc/{owner}/task")).unwrap().filter_map(Result::ok);
    let all: String = by_task
        .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
        .chain([children])
        .collect::<Vec<_>>()
        .join(" ");
    let pids = all.split_ascii_whitespace().filter_map(|pid| pid.parse::<i32>().ok());
    let mut wardens = pids
        .filter(|pid| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(b"cc-ci\0warden")));
    Pid::from_raw(wardens.next().expect("a warden")).unwrap()
}

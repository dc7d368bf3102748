//! The command line here and from afar: a real `cc-ci serve` on a seeded state directory, asked both ways, says the same.

#![expect(clippy::disallowed_methods, reason = "programs are started as people start them")]

#[path = "support/forge.rs"]
mod forge;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

struct Served {
    dir: tempfile::TempDir,
    server: Child,
    url: String,
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn cc_ci(arguments: &[&str], token: Option<&str>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cc-ci"));
    command.args(arguments).env_remove("CC_CI_CONFIG").env_remove("CC_CI_TOKEN").stdin(Stdio::null());
    if let Some(token) = token {
        command.env("CC_CI_TOKEN", token);
    }
    command.output().unwrap()
}

fn said(output: &Output) -> (i32, String) {
    let text = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat();
    (output.status.code().unwrap(), text)
}

impl Served {
    /// With no forge that answers, and no Docker.
    fn start() -> Served {
        Served::start_with("http://127.0.0.1:1", "0123456789")
    }

    fn start_with(forge: &str, forge_token: &str) -> Served {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        let seeded = cc_ci(&["dev", "seed", "--dir", &path("state"), "--runs", "130"], None);
        assert!(seeded.status.success(), "{:?}", said(&seeded));
        std::fs::write(path("token"), forge_token).unwrap();
        std::fs::set_permissions(path("token"), PermissionsExt::from_mode(0o600)).unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let config = format!(
            "domain: ci.test\nstate_dir: {}\nforge: {{url: '{forge}', organisation: recipes, token_file: {}}}\n\
             web: {{listen: '{address}'}}\n",
            path("state"),
            path("token"),
        );
        std::fs::write(path("config.yaml"), config).unwrap();
        let socket = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let server = Command::new(env!("CARGO_BIN_EXE_cc-ci"))
            .args(["serve", "--config", &path("config.yaml")])
            .env("NOTIFY_SOCKET", dir.path().join("notify"))
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let served = Served { dir, server, url: format!("http://{address}") };
        let mut heard = [0; 4096];
        loop {
            let count = socket.recv(&mut heard).expect("the server says that it is ready");
            if heard[..count].starts_with(b"READY=1") {
                return served;
            }
        }
    }

    fn state(&self) -> String {
        self.dir.path().join("state").display().to_string()
    }

    fn here(&self, arguments: &[&str]) -> (i32, String) {
        said(&cc_ci(&[arguments, &["--state", &self.state()]].concat(), None))
    }

    fn there(&self, arguments: &[&str], token: Option<&str>) -> (i32, String) {
        said(&cc_ci(&[arguments, &["--server", &self.url]].concat(), token))
    }

    fn token(&self, name: &str, scope: &str) -> String {
        let made = cc_ci(&["token", "new", name, "--scope", scope, "--state", &self.state()], None);
        assert!(made.status.success(), "{:?}", said(&made));
        String::from_utf8(made.stdout).unwrap().trim().to_owned()
    }

    /// The newest run with this outcome.
    fn run(&self, outcome: &str) -> String {
        let (code, number) = self.here(&["runs", "list", "-n", "1", "--quiet", "--outcome", outcome]);
        assert_eq!(code, 0, "{number}");
        number.trim().to_owned()
    }
}

#[test]
fn here_and_from_afar_say_the_same_in_every_form() {
    let served = Served::start();
    let (failed, passed) = (served.run("failed"), served.run("passed"));
    let questions = [
        &["runs", "list", "-n", "120"][..],
        &["runs", "list", "--outcome", "failed", "-n", "7"],
        &["runs", "list", "--recipe", "keycloak"],
        &["runs", "list", "--origin", "comment", "-n", "60"],
        &["runs", "list", "--origin", "schedule"],
        &["runs", "list", "--recipe", "no-such"],
        &["runs", "show", &failed],
        &["runs", "show", "99999"],
        &["runs", "compare", &failed, &passed],
        &["queue"],
        &["recipes"],
        &["decisions"],
    ];
    for question in questions {
        for form in [&[][..], &["--json"], &["--quiet"]] {
            let asked = [question, form].concat();
            let (here, there) = (served.here(&asked), served.there(&asked, None));
            assert_eq!(here, there, "{asked:?}");
            assert!(!here.1.is_empty() || form == ["--quiet"], "{asked:?}");
            if form == ["--json"] && here.0 == 0 {
                let _: serde_json::Value = serde_json::from_str(&here.1).expect("it is JSON");
            }
        }
    }
    let log = ["runs", "log", &failed];
    let (code, text) = served.here(&log);
    assert!(code == 0 && text.lines().count() > 5, "{code} {text}");
    assert_eq!((code, text), served.there(&log, None));
    assert_eq!(served.here(&[&log[..], &["-f"]].concat()), served.there(&[&log[..], &["-f"]].concat(), None));
    // Heartbeats go on between two looks, so the moments may differ.
    let names = |(code, text): (i32, String)| (code, text.split_whitespace().next().unwrap_or_default().to_owned());
    assert_eq!(names(served.here(&["hosts"])), names(served.there(&["hosts"], None)));
}

#[test]
fn acting_from_afar_takes_a_token_that_is_good_for_it() {
    let served = Served::start();
    let (run, cancel) = (served.token("runner", "run"), served.token("canceller", "cancel"));
    let passed = served.run("passed");
    let retry = ["runs", "retry", &passed];

    let (code, text) = served.there(&retry, None);
    assert!(code == 2 && text.contains("CC_CI_TOKEN"), "{code} {text}");
    let (code, text) = served.there(&retry, Some("ccci_wrong"));
    assert!(code == 2 && text.contains("wants a good token"), "{code} {text}");
    let (code, text) = served.there(&retry, Some(&cancel));
    assert!(code == 2 && text.contains("does not let this token"), "{code} {text}");
    let (code, text) = served.there(&[&retry[..], &["--quiet"]].concat(), Some(&run));
    assert_eq!(code, 0, "{text}");
    let again = text.trim().to_owned();
    let (code, text) = served.there(&retry, Some(&run));
    assert_eq!((code, text), served.here(&retry), "one of this head waits already");

    let file = served.dir.path().join("cancel.token");
    std::fs::write(&file, &cancel).unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    let named = ["runs", "cancel", &again, "--token-file", file.to_str().unwrap()];
    let (code, text) = served.there(&named, None);
    assert_eq!((code, text), (0, format!("run {again} is told to end\n")));
    assert_eq!(served.there(&named, None), served.here(&["runs", "cancel", &again]), "it is over");
    let (_, audit) = served.here(&["audit", "list"]);
    assert!(audit.contains("token canceller: cancel") && audit.contains("token runner: retry"), "{audit}");

    // The forge of this place does not answer, which is nobody's fault here.
    let (code, text) = served.there(&["trigger", "keycloak#41"], Some(&run));
    assert!(code == 3 || code == 2, "{code} {text}");
    for _ in 0..12 {
        served.there(&retry, Some("ccci_wrong"));
    }
    let (code, text) = served.there(&retry, Some("ccci_wrong"));
    assert!(code == 3 && text.contains("too often"), "{code} {text}");
}

/// A test that asks for a run of a pull request there is, and for the janitor.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_and_the_janitor_are_asked_for_from_afar() {
    let place = forge::Place::open().await;
    let (url, token) = (place.url.clone(), place.token.expose().to_owned());
    let asked = tokio::task::spawn_blocking(move || {
        let served = Served::start_with(&url, &token);
        let (run, janitor) = (served.token("runner", "run"), served.token("tidy", "janitor"));
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        let trigger = ["trigger", "custom-html#1", "--stage", "install"];
        // Its repositories are seen with the first look at the forge.
        let (code, text) = loop {
            let (code, text) = served.there(&trigger, Some(&run));
            if code == 0 || std::time::Instant::now() > deadline {
                break (code, text);
            }
        };
        assert!(code == 0 && text.contains("is queued") && text.contains(&served.url), "{code} {text}");
        let (_, api) = served.here(&["runs", "list", "--origin", "api", "--json"]);
        let api: serde_json::Value = serde_json::from_str(&api).unwrap();
        let newest = api.as_array().or(api["runs"].as_array()).unwrap()[0].clone();
        assert_eq!((&newest["recipe"], &newest["asked_by"]), (&"custom-html".into(), &"the token runner".into()));

        let (code, text) = served.there(&["janitor"], Some(&run));
        assert!(code == 2 && text.contains("no scope `janitor`"), "{code} {text}");
        let (code, text) = served.there(&["janitor"], Some(&janitor));
        assert!(code == 0 && text.contains("asked the runner"), "{code} {text}");
        let (_, audit) = served.here(&["audit", "list"]);
        assert!(
            audit.contains("token tidy: janitor") && audit.contains("token runner: trigger custom-html#1"),
            "{audit}"
        );
        assert_eq!(served.here(&["audit", "verify"]).0, 0);
    });
    asked.await.unwrap();
}

/// Answers one request with these bytes.
fn answering(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut asked = [0; 4096];
        let _ = stream.read(&mut asked);
        let _ = stream.write_all(answer.as_bytes());
    });
    format!("http://{address}")
}

#[test]
fn what_is_no_cc_ci_is_said_to_be_none() {
    let html = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi";
    let moved = "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/elsewhere\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let json = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\nconnection: close\r\n\r\n[]";
    let missing = "HTTP/1.1 404 Not Found\r\ncontent-type: text/html\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let elsewhere = "https://name:word@ci.example.org";
    for (url, token, code, words) in [
        (answering(html), None, 2, "is not a cc-ci"),
        (answering(moved), None, 2, "is not a cc-ci"),
        (answering(json), None, 2, "is not a cc-ci"),
        (answering(missing), None, 2, "is not a cc-ci"),
        ("http://127.0.0.1:1".into(), None, 3, "does not answer"),
        ("ci.example.org".into(), None, 2, "https://ci.example.org"),
        (elsewhere.into(), None, 2, "seen by others"),
        ("http://ci.example.org".into(), Some("ccci_x"), 2, "use https://"),
    ] {
        let output = cc_ci(&["queue", "--server", &url], token);
        let (is, text) = said(&output);
        assert!(is == code && text.contains(words) && !text.contains('\x1b'), "{url}: {is} {text}");
        assert!(!text.contains("ccci_x") && output.stdout.is_empty(), "{text}");
    }
}

#[test]
fn top_says_where_it_cannot_draw_and_leaves_a_terminal_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state").display().to_string();
    assert!(cc_ci(&["dev", "seed", "--dir", &state, "--runs", "20"], None).status.success());
    let (code, text) = said(&cc_ci(&["top", "--state", &state], None));
    assert!(code == 2 && text.contains("cc-ci queue"), "{code} {text}");

    if !PathBuf::from("/usr/bin/script").exists() {
        println!("SKIPPED top_says_where_it_cannot_draw_and_leaves_a_terminal_as_it_was: there is no script(1)");
        return;
    }
    // It is left with a key, or told to end by whoever ends services; the shell in the middle says its process.
    for key in ["q", "\x03", "TERM"] {
        let line = format!(
            "stty rows 24 cols 80; stty -a; sh -c 'echo process $$ .; exec {} top --state {state}'; echo \"code $?\"; stty -a",
            env!("CARGO_BIN_EXE_cc-ci")
        );
        let mut typed = Command::new("script")
            .args(["-qec", &line, "/dev/null"])
            .env_remove("CC_CI_CONFIG")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut keys, mut shown) = (typed.stdin.take().unwrap(), typed.stdout.take().unwrap());
        let mut text = String::new();
        let mut bytes = [0; 4096];
        // The key is pressed once the queue is drawn.
        let mut pressed = false;
        loop {
            let count = shown.read(&mut bytes).unwrap();
            if count == 0 {
                break;
            }
            text.push_str(&String::from_utf8_lossy(&bytes[..count]));
            if !pressed && text.contains("under way") {
                if key == "TERM" {
                    let process = text.split("process ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
                    assert!(Command::new("kill").args(["-TERM", process]).status().unwrap().success());
                } else {
                    keys.write_all(key.as_bytes()).unwrap();
                    keys.flush().unwrap();
                }
                pressed = true;
            }
        }
        assert!(typed.wait().unwrap().success() && pressed, "{text}");
        assert!(text.contains("\x1b[?1049h") && text.contains("\x1b[?1049l") && text.contains("code 0"), "{text}");
        let settings: Vec<&str> =
            text.split("speed ").skip(1).map(|part| part.split("code ").next().unwrap()).collect();
        let flags = |part: &str| {
            part.split_whitespace()
                .filter(|word| word.contains("icanon") || word.contains("echo"))
                .map(|word| word.trim_end_matches(';').to_owned())
                .collect::<Vec<_>>()
        };
        let first = settings[0].split('\x1b').next().unwrap();
        assert_eq!(flags(first), flags(settings[1]), "{text}");
    }
}

//! A server with a database of its own, and somebody who asks it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::routing::post;
use cc_ci::alarms::Alarms;
use cc_ci::clock::{Clock, Time};
use cc_ci::dev::seed::{self, Seed};
use cc_ci::forge::gitea::Gitea;
use cc_ci::intake::trigger::Desk;
use cc_ci::logs::{self, Log};
use cc_ci::model::{Outcome, RunId, StageName, StageState};
use cc_ci::sandbox::Stream;
use cc_ci::secrets::redact::Redactor;
use cc_ci::store::{Store, heartbeats, pages, runs, stages};
use cc_ci::web::{self, Web};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

pub(crate) const NOW: Time = Time(1_767_323_045_678);
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct House {
    pub store: Store,
    pub clock: Clock,
    pub alarms: Alarms,
    pub logs: PathBuf,
    pub address: String,
    client: reqwest::Client,
    _dir: tempfile::TempDir,
    shutdown: CancellationToken,
    _ends: DropGuard,
}

pub(crate) struct Page {
    pub status: u16,
    pub text: String,
    headers: reqwest::header::HeaderMap,
}

impl Page {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Every answer, whatever it is, carries the policy.
    pub(crate) fn is_within_policy(&self) {
        let policy = self.header("content-security-policy");
        for part in
            ["default-src 'none'", "style-src 'self'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"]
        {
            assert!(policy.contains(part), "{policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains('*') && !policy.contains("http"), "{policy}");
        assert_eq!(self.header("x-content-type-options"), "nosniff");
    }
}

impl House {
    pub(crate) async fn empty() -> House {
        House::new(0, None).await
    }

    /// So many runs that are over, one that goes on and two that wait.
    pub(crate) async fn with_history(count: usize) -> House {
        House::new(count, None).await
    }

    /// The same, and runs may be asked for: their pull requests are on this forge.
    pub(crate) async fn with_forge(count: usize, forge: Gitea) -> House {
        House::new(count, Some(forge)).await
    }

    async fn new(count: usize, forge: Option<Gitea>) -> House {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("cc-ci.db")).unwrap();
        let (clock, alarms, logs) = (Clock::held(NOW), Alarms::default(), dir.path().join("logs"));
        if count > 0 {
            let what = Seed { runs: count, checks: None, until: NOW, open: true, logs: Some((logs.clone(), 5)) };
            seed::seed(&store, &what).await.unwrap();
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let desk = forge.map(|forge| Desk {
            forge: Arc::new(forge),
            store: store.clone(),
            clock: clock.clone(),
            organisation: "recipes".parse().unwrap(),
            bells: Vec::new(),
        });
        let web = Web { desk, ..web(&store, &clock, &alarms, &logs, &address) };
        let shutdown = CancellationToken::new();
        tokio::spawn(web::serve(listener, web, shutdown.clone()));
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        House { store, clock, alarms, logs, address, client, _dir: dir, _ends: shutdown.clone().drop_guard(), shutdown }
    }

    /// The server is told to end.
    pub(crate) fn ends(&self) {
        self.shutdown.cancel();
    }

    pub(crate) async fn get(&self, address: &str) -> Page {
        self.send("GET", address, &[]).await
    }

    fn request(&self, method: &str, address: &str, headers: &[(&str, &str)]) -> reqwest::RequestBuilder {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let request = self.client.request(method, format!("{}{address}", self.address));
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))
    }

    pub(crate) async fn send(&self, method: &str, address: &str, headers: &[(&str, &str)]) -> Page {
        let answer = self.request(method, address, headers).send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Page { status, headers, text: answer.text().await.unwrap() }
    }

    pub(crate) async fn post(&self, address: &str, headers: &[(&str, &str)], body: &str) -> Page {
        let answer = self.request("POST", address, headers).body(body.to_owned()).send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Page { status, headers, text: answer.text().await.unwrap() }
    }

    /// The body as it came.
    pub(crate) async fn bytes(&self, address: &str, headers: &[(&str, &str)]) -> Vec<u8> {
        self.request("GET", address, headers).send().await.unwrap().bytes().await.unwrap().to_vec()
    }

    /// The status alone; the body is left.
    pub(crate) async fn send_unread(&self, method: &str, address: &str, headers: &[(&str, &str)]) -> u16 {
        self.request(method, address, headers).send().await.unwrap().status().as_u16()
    }

    pub(crate) async fn queue(&self, recipe: &str, pr: i64) -> RunId {
        let new = seed::plain_run(recipe, pr);
        self.store.write("is being tested", move |tx| runs::queue(tx, &new, NOW)).await.unwrap()
    }

    pub(crate) async fn follow(&self, address: &str, last: Option<&str>) -> Events {
        let headers: Vec<(&str, &str)> = last.iter().map(|last| ("last-event-id", *last)).collect();
        let answer = self.request("GET", address, &headers).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Events { answer, read: String::new() }
    }

    /// Asks again and again until it is so.
    pub(crate) async fn eventually(&self, is_so: impl AsyncFn() -> bool) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !is_so().await {
            assert!(tokio::time::Instant::now() < deadline, "it never came true");
            tokio::task::yield_now().await;
        }
    }
}

fn web(store: &Store, clock: &Clock, alarms: &Alarms, logs: &std::path::Path, address: &str) -> Web {
    alarms.polled(clock.now());
    Web {
        store: store.clone(),
        clock: clock.clone(),
        alarms: alarms.clone(),
        logs_dir: logs.into(),
        evidence_dir: logs.with_file_name("evidence"),
        pages_dir: logs.into(),
        address: address.to_owned(),
        forge: Some("https://git.example.org".into()),
        organisation: "recipes".into(),
        poll_interval: Some(Duration::from_secs(30)),
        followers_each: 10,
        desk: None,
        runner: None,
        extra: axum::Router::new().route("/hook", post(async || (reqwest::StatusCode::ACCEPTED, "heard"))),
    }
}

/// One server-sent event.
#[derive(Debug, Default)]
pub(crate) struct Event {
    pub id: String,
    pub kind: String,
    pub data: String,
}

pub(crate) struct Events {
    answer: reqwest::Response,
    read: String,
}

impl Events {
    async fn next_or_end(&mut self) -> Option<Event> {
        loop {
            if let Some(end) = self.read.find("\n\n") {
                let text: String = self.read.drain(..end + 2).collect();
                let mut event = Event::default();
                for line in text.lines() {
                    match line.split_once(": ") {
                        Some(("id", id)) => event.id = id.into(),
                        Some(("event", kind)) => event.kind = kind.into(),
                        Some(("data", data)) if event.data.is_empty() => event.data = data.into(),
                        Some(("data", data)) => event.data = format!("{}\n{data}", event.data),
                        _ => {}
                    }
                }
                if event.kind.is_empty() {
                    continue;
                }
                return Some(event);
            }
            let chunk = tokio::time::timeout(PATIENCE, self.answer.chunk()).await.expect("no event came").unwrap()?;
            self.read.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    pub(crate) async fn next(&mut self) -> Event {
        self.next_or_end().await.expect("the stream ended")
    }

    pub(crate) async fn next_of(&mut self, kind: &str) -> Event {
        loop {
            let event = self.next().await;
            if event.kind == kind {
                return event;
            }
        }
    }

    /// So many log lines, in however many events they come.
    pub(crate) async fn next_lines(&mut self, count: usize) -> Vec<String> {
        let mut lines = Vec::new();
        while lines.len() < count {
            lines.extend(self.next_of("lines").await.data.lines().map(str::to_owned));
        }
        lines
    }

    pub(crate) async fn is_over(&mut self) -> bool {
        self.next_or_end().await.is_none()
    }
}

/// A server that goes on: the open run writes its log and goes from stage to stage, over and over.
pub(crate) async fn look(address: &str) {
    let temporary = tempfile::tempdir().unwrap();
    let dir = std::env::var_os("CC_CI_LOOK_DIR").map_or_else(|| temporary.path().to_owned(), PathBuf::from);
    std::fs::create_dir_all(&dir).unwrap();
    let store = Store::open(&dir.join("cc-ci.db")).unwrap();
    let (clock, alarms, logs_dir) = (Clock::system(), Alarms::default(), dir.join("logs"));
    let count = std::env::var("CC_CI_LOOK_RUNS").ok().and_then(|count| count.parse().ok()).unwrap_or(600);
    let what =
        Seed { runs: count, checks: None, until: clock.now(), open: count > 0, logs: Some((logs_dir.clone(), 1000)) };
    if count > 0 && store.read(pages::newest).await.unwrap() == 0 {
        seed::seed(&store, &what).await.unwrap();
    }
    let listener = TcpListener::bind(address).await.unwrap();
    let web = web(&store, &clock, &alarms, &logs_dir, &format!("http://{address}"));
    println!("look at http://{address}/ ({})", dir.display());
    let server = tokio::spawn(web::serve(listener, web, CancellationToken::new()));
    let mut beat = heartbeats::Heartbeat {
        pid: 1,
        version: "0.1.0".into(),
        started_at: clock.now(),
        at: clock.now(),
        facts: "{}".into(),
    };
    let mut said = 0;
    let mut log: Option<(RunId, Log, usize)> = None;
    while !server.is_finished() {
        tokio::time::sleep(Duration::from_millis(400)).await;
        alarms.polled(clock.now());
        said += 1;
        beat.at = clock.now();
        let (now, ours) = (clock.now(), beat.clone());
        store.write("did not take a beat", move |tx| heartbeats::beat(tx, "runner", &ours)).await.unwrap();
        let open = store.read(runs::open).await.unwrap();
        let Some(run) = open.iter().find(|run| run.started_at.is_some()).or(open.first()) else { continue };
        let id = run.id;
        if run.started_at.is_none() {
            let plan: Vec<_> = StageName::ALL.iter().map(|&name| (name, StageState::Waiting, None)).collect();
            store
                .write("did not start", move |tx| {
                    runs::start(tx, id, now)?;
                    stages::plan(tx, id, &plan)
                })
                .await
                .unwrap();
        }
        if log.as_ref().is_none_or(|(of, _, _)| *of != id) {
            std::fs::create_dir_all(&logs_dir).unwrap();
            let path = logs::path(&logs_dir, id);
            let open = Log::reopen(&path, Redactor::new(), clock.clone(), logs::USUAL_CAP)
                .or_else(|_| Log::create(&path, Redactor::new(), clock.clone(), logs::USUAL_CAP));
            log = Some((id, open.unwrap(), 0));
        }
        let Some((_, log, lines)) = &mut log else { continue };
        *lines += 1;
        let stage = store.read(move |db| stages::of_run(db, id)).await.unwrap();
        let running = stage.iter().find(|stage| stage.state == StageState::Running).map(|stage| stage.name);
        let waiting = stage.iter().find(|stage| stage.state == StageState::Waiting).map(|stage| stage.name);
        if let Some(name) = running {
            log.chunk(name, Stream::Out, format!("line {said} of what {name} says\n").as_bytes());
        }
        if *lines % 40 != 0 && running.is_some() {
            continue;
        }
        let last = waiting.is_none();
        let ended = store.write("did not go on", move |tx| {
            if let Some(name) = running {
                stages::finish(tx, id, name, StageState::Passed, None, Duration::ZERO, now)?;
            }
            if let Some(name) = waiting {
                stages::start(tx, id, name, now)?;
            } else {
                runs::finish(tx, id, Outcome::Passed, "", now)?;
                runs::queue(tx, &seed::plain_run("custom-html", 12), now)?;
            }
            Ok(())
        });
        ended.await.unwrap();
        if last {
            log.close().await.unwrap();
        }
    }
}

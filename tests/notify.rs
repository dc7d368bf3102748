//! People are told elsewhere than on the forge: over real servers that fail, through restarts, and nothing twice.

#![expect(clippy::disallowed_methods, reason = "programs are started as people start them")]
#![allow(clippy::unused_async, reason = "every step of a story is written alike")]

#[path = "notify/servers.rs"]
mod servers;
#[path = "support/mod.rs"]
mod support;

use std::sync::Arc;
use std::time::Duration;

use cc_ci::alarms::{Alarm, Alarms};
use cc_ci::clock::{Clock, Time};
use cc_ci::config::notify as config;
use cc_ci::engine::run::{self, StageEnd, Verdict};
use cc_ci::model::{Asked, Login, Origin, Outcome, Pr, Repo, RepoId, RunId, StageName, StageState};
use cc_ci::report::notify::{Notifier, Target, run as notify};
use cc_ci::secrets::Secret;
use cc_ci::secrets::redact::Redactor;
use cc_ci::store::Store;
use cc_ci::store::repositories::{self, Listed};
use cc_ci::store::runs::NewRun;
use servers::{Http, Mailbox, Post};
use support::eventually;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A recipe that wants to be a header, a mention and a page.
const HOSTILE: &str = "key\r\nBcc: all@example.org\n\n@room <b>\u{202e}cloak";
const FLAT: &str = "key Bcc: all@example.org @room <b>cloak";

/// A database, what is wrong, and a clock that a test moves.
struct Office {
    dir: tempfile::TempDir,
    store: Store,
    clock: Clock,
    redactor: Redactor,
}

/// The part of a server that notifies, until it is stopped.
struct Works {
    alarms: Alarms,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Office {
    async fn open() -> Office {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("cc-ci.db")).unwrap();
        let repo: Repo = "recipes/keycloak".parse().unwrap();
        store
            .write("is being tested", move |tx| {
                let listed = Listed { id: RepoId(1), repo: &repo, enrolled: true, why: "" };
                repositories::see(tx, &listed, Time(0), Time(0), Time(0))
            })
            .await
            .unwrap();
        Office { dir, store, clock: Clock::held(Time(1_767_323_045_000)), redactor: Redactor::new() }
    }

    fn secret(&self, name: &str, value: &str) -> std::path::PathBuf {
        let path = self.dir.path().join(name);
        support::write_secret(&path, value);
        path
    }

    fn works(&self, targets: &[config::Target]) -> Works {
        let (alarms, stop, redactor) = (Alarms::default(), CancellationToken::new(), self.redactor.clone());
        let notifier = Notifier {
            store: self.store.clone(),
            clock: self.clock.clone(),
            alarms: alarms.clone(),
            address: "https://ci.example.org".into(),
            mask: Arc::new(move |text: &str| redactor.mask(text)),
            targets: targets.iter().map(|target| Target::open(target, &self.redactor).unwrap()).collect(),
        };
        let task = tokio::spawn(notify(notifier, stop.clone()));
        Works { alarms, stop, task }
    }

    /// A run from its request to its verdict.
    async fn ends(&self, pr: i64, recipe: &str, outcome: Outcome, reason: &str) -> RunId {
        let (now, recipe, reason) = (self.clock.now(), recipe.to_owned(), reason.to_owned());
        let asked_by: Login = "alice".parse().unwrap();
        let new = NewRun {
            origin: Origin::Comment,
            repository: Some(RepoId(1)),
            repo_name: "recipes/keycloak".into(),
            recipe,
            pr: Some(Pr(pr)),
            head: "3f9c2ab13f9c2ab13f9c2ab13f9c2ab13f9c2ab1".parse().unwrap(),
            base_branch: Some("main".into()),
            title: String::new(),
            comment: None,
            asked_by: asked_by.to_string(),
            asked: Asked::All,
            upgrade_from: None,
            attempt: 1,
            retry_of: None,
        };
        let state = if outcome == Outcome::Passed { StageState::Passed } else { StageState::Failed };
        self.store
            .write("is being tested", move |tx| {
                let id = run::queue(tx, &new, now)?;
                run::start(tx, id, &[(StageName::Fetch, StageState::Waiting, None)], now)?;
                run::begin_stage(tx, id, StageName::Fetch, now)?;
                let end = StageEnd { state, reason: Some(reason.clone()), waited: Duration::ZERO };
                run::end_stage(tx, id, StageName::Fetch, &end, now)?;
                let gone = run::torn_down(tx, id)?;
                run::finish(tx, id, Verdict { outcome, reason }, gone, now)?;
                Ok(id)
            })
            .await
            .unwrap()
    }

    /// What the database says to a question that only a test asks.
    async fn asks<T: rusqlite::types::FromSql>(&self, sql: &'static str) -> T {
        let db = rusqlite::Connection::open(self.store.path()).unwrap();
        db.query_row(sql, [], |row| row.get(0)).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    async fn until(&self, sql: &'static str, wanted: i64) {
        eventually(sql, || async {
            let got: i64 = self.asks(sql).await;
            if got == wanted { Ok(()) } else { Err(format!("{got}")) }
        })
        .await;
    }

    /// Time passes, and whoever waits looks again.
    async fn passes(&self, span: Duration) {
        self.clock.advance(span);
        self.store.somebody_wrote();
    }
}

impl Works {
    async fn stops(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }

    /// As a process that is killed: in the middle of whatever it does.
    async fn dies(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

const OPEN: &str = "select count(*) from deliveries where done_at is null and gave_up_at is null";
const SENT: &str = "select count(*) from deliveries where done_at is not null";
const FAILED_ONCE: &str = "select count(*) from deliveries where attempts = 1 and last_error is not null";

fn target(name: &str) -> config::Target {
    config::Target { name: name.into(), webhook: None, matrix: None, mail: None }
}

impl Office {
    fn webhook(&self, url: &str) -> config::Target {
        let secret_file = self.secret("hook-secret", "only they and we know");
        config::Target { webhook: Some(config::Webhook { url: url.into(), secret_file }), ..target("hook") }
    }

    fn matrix(&self, homeserver: &str) -> config::Target {
        let token_file = self.secret("matrix-token", "syt_a_token_of_matrix");
        let room = config::Matrix { homeserver: homeserver.into(), room: "!room/1:example.org".into(), token_file };
        config::Target { matrix: Some(room), ..target("room") }
    }

    fn mail(&self, port: u16, tls: config::Tls, authority: &str) -> config::Target {
        let ca_file = self.dir.path().join("mail-ca.pem");
        std::fs::write(&ca_file, authority).unwrap();
        let mail = config::Mail {
            server: "localhost".into(),
            port: Some(port),
            tls,
            ca_file: Some(ca_file),
            user: (tls != config::Tls::None).then(|| "bot".into()),
            password_file: (tls != config::Tls::None).then(|| self.secret("mail-password", "a password of mail")),
            from: "cc-ci <ci@example.org>".into(),
            to: vec!["ops@example.org".into(), "Bea <bea@example.org>".into()],
        };
        config::Target { mail: Some(mail), ..target("mail") }
    }
}

#[tokio::test]
async fn a_webhook_that_fails_first_hears_of_each_turn_once_and_in_order_over_a_restart() {
    let (office, server) = (Office::open().await, Http::start().await);
    server.answers(503, 1);
    let hook = office.webhook(&server.url("/hook"));
    let works = office.works(std::slice::from_ref(&hook));
    office.ends(7, HOSTILE, Outcome::Failed, "install: nginx\n does not start").await;
    office.until(FAILED_ONCE, 1).await;
    let error: String = office.asks("select last_error from deliveries").await;
    assert!(error.contains("503"), "{error}");
    assert_eq!(works.alarms.lasting()[0].alarm, Alarm::Notify);
    office.ends(7, HOSTILE, Outcome::Failed, "again").await;
    office.ends(7, HOSTILE, Outcome::Infra, "no registry").await;
    office.ends(7, HOSTILE, Outcome::Passed, "").await;
    office.ends(7, HOSTILE, Outcome::Passed, "").await;
    works.stops().await;

    let works = office.works(std::slice::from_ref(&hook));
    office.passes(Duration::from_secs(91)).await;
    office.until(SENT, 2).await;
    office.until(OPEN, 0).await;
    assert!(works.alarms.lasting().is_empty());
    works.stops().await;

    let posts = server.posts();
    let [failed, red, green] = &posts[..] else { panic!("{posts:#?}") };
    assert_eq!(failed.json()["id"], red.json()["id"]);
    assert_ne!(red.json()["id"], green.json()["id"]);
    assert_eq!(red.header("x-cc-ci-delivery"), red.json()["id"]);
    assert_eq!(red.json()["event"], "red");
    assert_eq!(red.json()["subject"], format!("{FLAT} #7 turned red"));
    assert_eq!(red.json()["text"], format!("{FLAT} #7 turned red: install: nginx does not start"));
    assert_eq!(red.json()["url"], "https://ci.example.org/runs/1");
    assert_eq!(red.json()["about"]["outcome"], "failed");
    assert_eq!(green.json()["event"], "green");
    assert_eq!(green.json()["text"], format!("{FLAT} #7 is green again"));
    assert!(posts.iter().all(|post| post.is_signed_with("only they and we know")), "{posts:#?}");
    assert!(!posts.iter().any(|post| post.is_signed_with("another")));
}

#[tokio::test]
async fn what_was_sent_before_the_process_died_is_in_the_room_once() {
    let (office, server) = (Office::open().await, Http::start().await);
    let room = office.matrix(&server.url("/sub/"));
    // The room takes it, and its answer never comes.
    server.holds();
    let works = office.works(std::slice::from_ref(&room));
    office.ends(7, "keycloak", Outcome::Failed, "the app does not answer").await;
    server.got(1).await;
    works.dies().await;
    office.until(OPEN, 1).await;
    server.lets_go();

    let works = office.works(&[room]);
    office.passes(Duration::from_secs(5)).await;
    office.until(SENT, 1).await;
    works.stops().await;
    let posts = server.posts();
    let [one, two] = &posts[..] else { panic!("{posts:#?}") };
    assert_eq!(one.path, two.path, "the server knows the second attempt by its transaction");
    let base = "/sub/_matrix/client/v3/rooms/!room%2F1:example.org/send/m.room.message/cc-ci-room-";
    assert!(one.path.starts_with(base), "{}", one.path);
    assert_eq!((one.method.as_str(), one.header("authorization")), ("PUT", "Bearer syt_a_token_of_matrix"));
    assert_eq!(server.transactions(), 1);
    let words = "keycloak #7 turned red: the app does not answer\nhttps://ci.example.org/runs/1";
    assert_eq!(one.json()["body"], words);
    assert_eq!(one.json()["m.mentions"], serde_json::json!({}), "whatever it is called, it rings nobody");
    assert_eq!(office.asks::<i64>("select attempts from deliveries").await, 2);
}

#[tokio::test]
async fn a_room_that_asks_for_a_pause_gets_one() {
    let (office, server) = (Office::open().await, Http::start().await);
    server.answers(429, 1);
    let works = office.works(&[office.matrix(&server.url("")), office.webhook(&server.url("/hook"))]);
    office.ends(7, "keycloak", Outcome::TimedOut, "install took too long").await;
    office.until(FAILED_ONCE, 1).await;
    office.until(SENT, 1).await;
    let pause = office.asks::<i64>("select due_at - tried_at from deliveries where done_at is null").await;
    assert_eq!(pause, 90_000, "as `Retry-After` says");
    office.passes(Duration::from_secs(89)).await;
    office.passes(Duration::from_secs(2)).await;
    office.until(SENT, 2).await;
    works.stops().await;
}

#[tokio::test]
async fn mail_is_tried_again_and_says_on_one_line_who_turned_red() {
    for tls in [config::Tls::Starttls, config::Tls::Implicit, config::Tls::None] {
        let (office, server) = (Office::open().await, Mailbox::start(tls == config::Tls::Implicit).await);
        server.refuses(1);
        let works = office.works(&[office.mail(server.port, tls, &server.authority)]);
        office.redactor.register("of the app", &Secret::new("hunter2hunter2"));
        office.ends(7, HOSTILE, Outcome::Failed, "the password hunter2hunter2 is wrong").await;
        office.until(FAILED_ONCE, 1).await;
        office.passes(Duration::from_secs(5)).await;
        office.until(SENT, 1).await;
        works.stops().await;

        let letters = server.letters();
        let [refused, taken] = &letters[..] else { panic!("{letters:#?}") };
        assert_eq!(refused.header("Message-ID"), taken.header("Message-ID"));
        assert_eq!(taken.header("Auto-Submitted"), "auto-generated");
        assert_eq!(taken.header("Subject"), format!("[cc-ci] {FLAT} #7 turned red"));
        assert_eq!(taken.header("Bcc"), "");
        assert_eq!(taken.to, ["<ops@example.org>", "<bea@example.org>"]);
        assert!(taken.body().contains("[secret of the app]"), "{}", taken.text);
        assert!(taken.body().contains("https://ci.example.org/runs/1"), "{}", taken.text);
        let (encrypted, login) =
            if tls == config::Tls::None { (false, "") } else { (true, "\0bot\0a password of mail") };
        assert_eq!((taken.encrypted, taken.login.as_str()), (encrypted, login));
    }
}

#[tokio::test]
async fn a_mail_server_that_nobody_vouches_for_gets_no_password() {
    let (office, server) = (Office::open().await, Mailbox::start(false).await);
    let other = Mailbox::start(false).await;
    let works = office.works(&[office.mail(server.port, config::Tls::Starttls, &other.authority)]);
    office.ends(7, "keycloak", Outcome::Failed, "").await;
    office.until(FAILED_ONCE, 1).await;
    works.stops().await;
    assert!(server.letters().is_empty());
    let error: String = office.asks("select last_error from deliveries").await;
    assert!(error.contains("certificate"), "{error}");
}

#[tokio::test]
async fn an_alarm_is_told_once_over_a_restart_and_so_is_its_end() {
    let (office, server) = (Office::open().await, Http::start().await);
    let hook = office.webhook(&server.url("/hook"));
    let now = office.clock.now();
    let works = office.works(std::slice::from_ref(&hook));
    works.alarms.raise(Alarm::ForgeSilent, "no answer\nsince noon", now);
    office.until(SENT, 1).await;
    works.alarms.raise(Alarm::ForgeSilent, "502", now);
    works.alarms.raise(Alarm::Notify, "nobody is notified of that", now);
    works.stops().await;

    let works = office.works(std::slice::from_ref(&hook));
    works.alarms.raise(Alarm::ForgeSilent, "no answer again", now);
    works.alarms.raise(Alarm::TokenRefused, "401", now);
    office.until(SENT, 2).await;
    works.alarms.clear(Alarm::ForgeSilent);
    office.until(SENT, 3).await;
    works.stops().await;

    // Nobody says any more that the token is refused.
    let works = office.works(&[hook]);
    office.ends(7, "keycloak", Outcome::Failed, "").await;
    office.until(SENT, 4).await;
    assert_eq!(office.asks::<i64>("select count(*) from alarms_told").await, 1, "it may still begin again");
    office.passes(Duration::from_secs(601)).await;
    office.until(SENT, 5).await;
    works.stops().await;
    let told: Vec<String> = server.posts().iter().map(|post| post.json()["text"].as_str().unwrap().into()).collect();
    let red = "keycloak #7 turned red";
    assert_eq!(
        told,
        [
            "alarm forge-silent: no answer since noon",
            "alarm token-refused: 401",
            "alarm forge-silent is over",
            red,
            "alarm token-refused is over",
        ]
    );
}

#[tokio::test]
async fn who_is_not_named_any_more_and_who_comes_later_hears_nothing_old() {
    let (office, server) = (Office::open().await, Http::start().await);
    server.answers(503, 1);
    let works = office.works(&[office.webhook(&server.url("/hook"))]);
    office.ends(7, "keycloak", Outcome::Failed, "").await;
    office.until(FAILED_ONCE, 1).await;
    works.stops().await;
    let works = office.works(&[office.matrix(&server.url(""))]);
    office.until(OPEN, 0).await;
    office.passes(Duration::from_secs(3600)).await;
    office.ends(7, "keycloak", Outcome::Passed, "").await;
    office.until(SENT, 1).await;
    works.stops().await;
    assert_eq!(server.posts().iter().map(|post| post.method.as_str()).collect::<Vec<_>>(), ["POST", "PUT"]);
}

#[tokio::test]
async fn what_nobody_took_for_three_days_is_given_up() {
    let (office, server) = (Office::open().await, Http::start().await);
    server.answers(500, 2);
    let works = office.works(&[office.webhook(&server.url("/hook"))]);
    office.ends(7, "keycloak", Outcome::Failed, "").await;
    office.until(FAILED_ONCE, 1).await;
    office.passes(Duration::from_secs(3 * 86_400 + 1)).await;
    office.until("select count(*) from deliveries where gave_up_at is not null and attempts = 2", 1).await;
    works.stops().await;
}

#[tokio::test]
async fn the_command_says_of_each_target_what_came_of_a_test() {
    let (office, server, mailbox) = (Office::open().await, Http::start().await, Mailbox::start(false).await);
    let (hook, token) = (office.secret("hook-secret", "s3cret of ours"), office.secret("matrix-token", "tok"));
    let text = format!(
        "domain: ci.example.org\n\
         forge: {{url: 'https://git.example.org', organisation: recipes, token_file: /nowhere}}\n\
         web: {{url: 'https://status.example.org'}}\n\
         notify:\n\
         - {{name: hook, webhook: {{url: '{0}', secret_file: {1}}}}}\n\
         - {{name: room, matrix: {{homeserver: '{2}', room: '!a:b', token_file: {3}}}}}\n\
         - {{name: mail, mail: {{server: 127.0.0.1, port: {4}, tls: none, from: ci@example.org, to: [a@example.org]}}}}\n\
         - {{name: nobody, webhook: {{url: 'http://127.0.0.1:1/', secret_file: {1}}}}}\n",
        server.url("/hook"),
        hook.display(),
        server.url(""),
        token.display(),
        mailbox.port,
    );
    let path = office.dir.path().join("config.yaml");
    std::fs::write(&path, text).unwrap();
    let ask = async |name: &'static str| {
        let path = path.clone();
        let run = move || {
            let mut command = std::process::Command::new(support::CC_CI);
            command.args(["notify", "test", "--config"]).arg(&path);
            command.args((!name.is_empty()).then_some(name)).output().unwrap()
        };
        let output = tokio::task::spawn_blocking(run).await.unwrap();
        let said = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat();
        (output.status.code(), said)
    };
    let (code, said) = ask("").await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.starts_with("hook: sent\nroom: sent\nmail: sent\nnobody: not sent: "), "{said}");
    assert!(said.contains("refused"), "{said}");
    assert_eq!(ask("room").await, (Some(0), "room: sent\n".into()));
    let (code, said) = ask("nowhere").await;
    assert!(code == Some(2) && said.contains("it names: hook, room, mail, nobody"), "{said}");
    let posts: Vec<Post> = server.posts();
    assert_eq!(posts.len(), 3);
    assert_eq!(posts[0].json()["event"], "test");
    assert_eq!(server.transactions(), 2);
    assert_eq!(mailbox.letters()[0].header("Subject"), "[cc-ci] a test");
}

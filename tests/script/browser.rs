//! The browser on a real HTTPS server, from inside its cage.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::extract::Form;
use axum::response::{Html, Redirect};
use axum::routing::{get, post};
use axum::{Router, serve};
use cc_ci::probe::browser::{Browser, Kit, LARGEST_PICTURE, Seen, Site, Step, Trouble, WINDOW, front_page, pin};
use cc_ci::script::tools::{ExecAnswer, ExecRequest, HttpAnswer, HttpRequest, ToolError, Tools};
use cc_ci::script::{Limits, Moment, Script, Side};
use cc_ci::secrets::Secret;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::stage::{app, browser_kit, define, kit, play};

const HOST: &str = "notes-pr7.ci.example.org";

/// An app behind TLS, with what of it a browser is told.
struct App {
    site: Site,
    /// Connections to a port of this machine that is none of the app's.
    strangers: Arc<AtomicUsize>,
}

struct Tls {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl serve::Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            if let Ok((stream, from)) = self.listener.accept().await
                && let Ok(stream) = self.acceptor.accept(stream).await
            {
                return (stream, from);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

#[derive(serde::Deserialize)]
struct Login {
    user: String,
    pass: String,
}

async fn start() -> App {
    let made = rcgen::generate_simple_self_signed([HOST.to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    let local = || TcpListener::bind("127.0.0.1:0");

    let stranger = local().await.unwrap();
    let stranger_port = stranger.local_addr().unwrap().port();
    let strangers = Arc::new(AtomicUsize::new(0));
    let count = strangers.clone();
    tokio::spawn(async move {
        while stranger.accept().await.is_ok() {
            count.fetch_add(1, Ordering::SeqCst);
        }
    });

    let front = "<!doctype html><title>Notes</title><h1>Welcome</h1><form method=post action=/login><input name=user value=old>\
                 <input name=pass type=password><button>In</button></form><p id=late></p><p hidden id=never>x</p>\
                 <script>setTimeout(() => { late.textContent = 'now it is here' }, 300)</script>";
    let escape = format!(
        "<!doctype html><title>Escape</title><p id=said></p><script>\
         const tries = ['http://127.0.0.1:{stranger_port}/', 'http://localhost:{stranger_port}/', 'https://example.org/', \
           'http://169.254.169.254/', 'http://[::1]:{stranger_port}/', 'https://{HOST}:{stranger_port}/'];\
         Promise.all(tries.map(url => fetch(url, {{mode: 'no-cors'}}).then(() => 'reached ' + url, () => 'refused')))\
           .then(all => {{ said.textContent = all.join(', ') }})</script>"
    );
    let big = "<!doctype html><title>Noise</title><canvas id=c width=1280 height=800></canvas><script>\
               const x = c.getContext('2d'), d = x.createImageData(1280, 800);\
               for (let i = 0; i < d.data.length; i++) d.data[i] = i % 4 == 3 ? 255 : Math.random() * 256;\
               x.putImageData(d, 0, 0)</script>";
    let login = |Form(login): Form<Login>| async move {
        Html(format!(
            "<title>In</title><h1>Hello {} ({})</h1><iframe id=below srcdoc='<p>in the frame</p>'></iframe>",
            login.user,
            login.pass.len()
        ))
    };
    let routes = Router::new()
        .route("/", get(move || async move { Html(front) }))
        .route("/escape", get(move || async move { Html(escape) }))
        .route("/noise", get(move || async move { Html(big) }))
        .route("/login", post(login));
    let tls = Tls { listener: local().await.unwrap(), acceptor: TlsAcceptor::from(Arc::new(config)) };
    let https = tls.listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { serve(tls, routes).await });
    let plain = local().await.unwrap();
    let http = plain.local_addr().unwrap().to_string();
    let redirect = Router::new().fallback(|| async { Redirect::permanent(&format!("https://{HOST}/")) });
    tokio::spawn(async move { serve(plain, redirect).await });

    let pin = Some(pin(made.cert.pem().as_bytes()).unwrap());
    App { site: Site { hosts: vec![HOST.parse().unwrap()], https, http, pin }, strangers }
}

fn url(path: &str) -> String {
    format!("https://{HOST}{path}")
}

fn size_of(png: &[u8]) -> (u32, u32) {
    let number = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().unwrap());
    (number(16), number(20))
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_opened_filled_clicked_read_and_pictured() {
    let Some(kit) = browser_kit("browser::pages_are_opened_filled_clicked_read_and_pictured") else { return };
    let app = start().await;
    let mut browser = Browser::start(&kit, &app.site, &CancellationToken::new()).await.unwrap();
    browser.open(&url("/")).await.unwrap();
    assert_eq!(browser.title().await.unwrap(), "Notes");
    assert_eq!(browser.text("h1").await.unwrap(), "Welcome");
    browser.wait("#late", Some("is here"), Duration::from_secs(20)).await.unwrap();
    let png = browser.screenshot().await.unwrap();
    assert_eq!(size_of(&png), WINDOW);
    assert!(png.len() < LARGEST_PICTURE);
    browser.fill("input[name=user]", "ünï").await.unwrap();
    browser.fill("input[name=pass]", "secret").await.unwrap();
    browser.click("button").await.unwrap();
    browser.wait("h1", Some("Hello"), Duration::from_secs(20)).await.unwrap();
    assert_eq!(browser.text("h1").await.unwrap(), "Hello ünï (6)");
    browser.frame(Some("#below")).await.unwrap();
    assert_eq!(browser.text("p").await.unwrap(), "in the frame");
    browser.frame(None).await.unwrap();
    assert_eq!(browser.text("h1").await.unwrap(), "Hello ünï (6)");
    assert_eq!(browser.step(Step::Url {}).await.unwrap(), Seen::Text(url("/login")));

    let page = |trouble: Trouble| match trouble {
        Trouble::Page(text) => text,
        Trouble::Machine(text) => panic!("the machine's fault: {text}"),
    };
    assert_eq!(page(browser.text("#nothing").await.unwrap_err()), "`#nothing`: there is no such element");
    let waited = browser.wait("h1", Some("Bye"), Duration::from_millis(300)).await.unwrap_err();
    assert_eq!(page(waited), "`h1`, after 0.3 s: it has \"Hello ünï (6)\", not \"Bye\"");
    assert!(page(browser.text("h1:::").await.unwrap_err()).contains("invalid selector"));
    browser.open(&url("/")).await.unwrap();
    let said = page(browser.fill("#never", "x").await.unwrap_err());
    assert!(said.contains("invalid element state"), "{said}");

    // Plain HTTP goes where the proxy listens for it.
    browser.open(&format!("http://{HOST}/anything")).await.unwrap();
    assert_eq!(browser.title().await.unwrap(), "Notes");
    assert_eq!(page(browser.open(&url("/nowhere")).await.unwrap_err()), "the page cannot be loaded: HTTP ERROR 404");
    browser.open(&url("/noise")).await.unwrap();
    let noise = browser.screenshot().await;
    assert!(matches!(&noise, Err(Trouble::Page(_))) || noise.unwrap().len() <= LARGEST_PICTURE);
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_reaches_the_app_and_nothing_else() {
    let Some(kit) = browser_kit("browser::a_page_reaches_the_app_and_nothing_else") else { return };
    let app = start().await;
    let mut browser = Browser::start(&kit, &app.site, &CancellationToken::new()).await.unwrap();
    browser.open(&url("/escape")).await.unwrap();
    browser.wait("#said", Some("refused"), Duration::from_secs(30)).await.unwrap();
    assert_eq!(browser.text("#said").await.unwrap(), ["refused"; 6].join(", "));
    for elsewhere in ["file:///etc/passwd", "https://example.org/"] {
        assert!(
            matches!(browser.open(elsewhere).await, Err(Trouble::Page(text)) if text.contains("ERR_")),
            "{elsewhere}"
        );
    }
    assert_eq!(app.strangers.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_certificate_is_not_trusted() {
    let Some(kit) = browser_kit("browser::another_certificate_is_not_trusted") else { return };
    let mut app = start().await;
    let other = rcgen::generate_simple_self_signed([HOST.to_owned()]).unwrap();
    app.site.pin = Some(pin(other.cert.pem().as_bytes()).unwrap());
    let mut browser = Browser::start(&kit, &app.site, &CancellationToken::new()).await.unwrap();
    let refused = browser.open(&url("/")).await.unwrap_err();
    assert_eq!(refused, Trouble::Page("the page cannot be loaded: NET::ERR_CERT_AUTHORITY_INVALID".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_front_page_has_its_picture_and_a_browser_that_is_missing_is_the_machines_fault() {
    let Some(kit) = browser_kit("browser::the_front_page_has_its_picture") else { return };
    let app = start().await;
    let began = std::time::Instant::now();
    let png = front_page(&kit, &app.site, &CancellationToken::new()).await.unwrap();
    println!("a picture of the front page, from nothing: {:?}, {} bytes", began.elapsed(), png.len());
    assert_eq!(size_of(&png), WINDOW);

    let nowhere = PathBuf::from("/usr/bin/no-such-program");
    let without_driver = Kit { chromedriver: nowhere.clone(), ..kit.clone() };
    let without_browser = Kit { chromium: nowhere, ..kit };
    for kit in [without_driver, without_browser] {
        let missing = front_page(&kit, &app.site, &CancellationToken::new()).await.unwrap_err();
        assert!(matches!(missing, Trouble::Machine(_)), "{missing:?}");
    }
}

/// A script's browser, as the engine has it: started with the first step.
pub(crate) struct Window {
    kit: Kit,
    site: Site,
    browser: Option<Browser>,
    pictures: Vec<(String, usize)>,
}

/// A browser for scripts, on the app of these tests.
pub(crate) async fn a_window(story: &str) -> Option<Window> {
    let kit = browser_kit(story)?;
    Some(Window { kit, site: start().await.site, browser: None, pictures: Vec::new() })
}

impl Window {
    async fn step(&mut self, step: Step) -> Result<Seen, ToolError> {
        if self.browser.as_ref().is_none_or(Browser::is_lost) {
            self.browser = Some(Browser::start(&self.kit, &self.site, &CancellationToken::new()).await?);
        }
        let browser = self.browser.as_mut().expect("it was started");
        let seen = browser.step(step).await?;
        if let Seen::Picture { name, png } = &seen {
            self.pictures.push((name.clone(), png.len()));
        }
        Ok(seen)
    }
}

impl Tools for Window {
    fn http(&mut self, _: HttpRequest) -> BoxFuture<'_, Result<HttpAnswer, ToolError>> {
        ready(Err(ToolError::Failed("this is about the browser".into()))).boxed()
    }

    fn exec(&mut self, _: ExecRequest) -> BoxFuture<'_, Result<ExecAnswer, ToolError>> {
        ready(Err(ToolError::Failed("this is about the browser".into()))).boxed()
    }

    fn browser(&mut self, step: Step) -> BoxFuture<'_, Result<Seen, ToolError>> {
        self.step(step).boxed()
    }

    fn secret(&mut self, _: &str) -> BoxFuture<'_, Result<Secret, ToolError>> {
        ready(Err(ToolError::Failed("this is about the browser".into()))).boxed()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_logs_in_with_the_browser() {
    let story = "browser::a_script_logs_in_with_the_browser";
    let (Some(scripts), Some(mut window)) = (kit(story), a_window(story).await) else { return };
    assert_eq!(app().domain.as_str(), HOST);
    let script = r##"
        ci.job("login", {"install"}, function(t)
          local b = t.browser
          b.open("/")
          b.wait("#late", {contains = "here", within = 20})
          b.fill("input[name=user]", "me")
          b.fill("input[name=pass]", "four")
          b.click("button")
          b.wait("h1", {contains = "Hello", within = 20})
          b.screenshot("logged-in")
          return {title = b.title(), text = b.text("h1")}
        end)
        ci.job("elsewhere", {"login"}, function(t) t.browser.open("https://example.org/") return true end)
        ci.job("missing", {"login"}, function(t) t.browser.click("#nothing") return true end)
        ci.job("name", {"login"}, function(t) t.browser.screenshot("../../etc/x") return true end)
    "##;
    let host =
        define(scripts, Side::Recipe, Limits::default(), vec![Script::new("checks/t.lua", script)]).await.unwrap();
    let heard = play(host, &mut window, &[Moment::Install]).await;
    assert_eq!(heard.passed("login"), &serde_json::json!({"title": "In", "text": "Hello me (4)"}));
    assert_eq!(
        heard.failed("elsewhere"),
        format!("checks/t.lua:13: browser.open: example.org is not this app ({HOST}); a script reaches nothing else")
    );
    assert_eq!(heard.failed("missing"), "checks/t.lua:14: browser.click: `#nothing`: there is no such element");
    assert!(heard.failed("name").contains("a screenshot's name is lower-case letters, digits and `-`"));
    assert_eq!(window.pictures.len(), 1);
    assert_eq!(window.pictures[0].0, "logged-in");
}

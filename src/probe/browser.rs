//! A headless Chromium that can reach one app and nothing else: for checks that need a browser, and for the picture of the
//! front page that every run keeps.
//!
//! It runs what strangers wrote, so it lives in a cage ([`crate::sandbox::bubblewrap`]) without network. Its connections come
//! out through sockets of ours and go to the proxy, whatever name or address a page asked for. WebDriver's protocol is a
//! few requests of JSON; they travel as frames over the cage's door.
//!
//! The app's certificate is trusted by the hash of its key, and by nothing else: whether it is a good certificate, the HTTP
//! probe says.

mod inside;

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

pub use inside::{WORD, main};

use super::http::{Prober, Seen as Look};
use crate::config;
use crate::model::AppDomain;
use crate::sandbox::bubblewrap::{
    Bubblewrap, Cage, CageFault, Inside, NoCage, PROGRAM, PrivateDir, Software, argv, on_path,
};
use crate::sandbox::frame::{receive, send};

/// The window, in pixels; pictures have its size.
pub const WINDOW: (u32, u32) = (1280, 800);
/// The largest picture that is kept.
pub const LARGEST_PICTURE: usize = 4 << 20;
/// How long an element may take to appear when a step does not say.
const PATIENCE: Duration = Duration::from_secs(5);
/// Loading a page.
const LOAD: Duration = Duration::from_secs(45);
/// Any one answer of WebDriver; more than it may take by its own limits.
const ANSWER: Duration = Duration::from_secs(60);
/// From an empty cage to a session: seconds, on a busy machine.
const START: Duration = Duration::from_secs(60);
const LIFE: Duration = Duration::from_secs(3600);
/// Profile, caches and shared memory of the browser.
const TMP: u64 = 768 << 20;
/// Connections of the browser to the app at a time.
const CONNECTIONS: usize = 128;
const FROM_INSIDE: usize = 8 << 20;
const TO_INSIDE: usize = 1 << 20;
const HTTPS_SOCKET: &str = "/run/cc-ci/https";
const HTTP_SOCKET: &str = "/run/cc-ci/http";
const HTTPS_PORT: u16 = 8443;
const HTTP_PORT: u16 = 8080;
/// Between two looks for an element.
const LOOK: Duration = Duration::from_millis(100);
/// Said of an element that is not there, and of one that was found and then replaced.
const MISSING: &str = "there is no such element";
const GONE: &str = "the element is gone";
/// WebDriver's name for a reference to an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// One thing to do in the browser.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "lowercase")]
pub enum Step {
    Open {
        url: String,
    },
    /// Puts text into a field, in place of what is there.
    Fill {
        selector: String,
        text: String,
    },
    Click {
        selector: String,
    },
    Text {
        selector: String,
    },
    Title {},
    /// The page's address, with what stands behind its `#`.
    Url {},
    /// Into a frame of the page, of whatever host; without a selector out of all frames.
    Frame {
        selector: Option<String>,
    },
    /// Until the element is there, with that in its text.
    Wait {
        selector: String,
        contains: Option<String>,
        milliseconds: u64,
    },
    Screenshot {
        name: String,
    },
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    Done,
    Text(String),
    Picture { name: String, png: Vec<u8> },
}

/// Why not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// The page is not as the step wants it.
    #[error("{0}")]
    Page(String),
    /// There is no browser, or it died: the machine's fault.
    #[error("{0}")]
    Machine(String),
}

impl From<CageFault> for Trouble {
    fn from(fault: CageFault) -> Trouble {
        Trouble::Machine(format!("the browser: {fault}"))
    }
}

/// The programs.
#[derive(Clone, Debug)]
pub struct Kit {
    pub bubblewrap: Bubblewrap,
    pub chromedriver: PathBuf,
    pub chromium: PathBuf,
}

/// What is missing for a browser.
#[derive(Debug, thiserror::Error)]
pub enum NoBrowser {
    #[error(transparent)]
    Cage(#[from] NoCage),
    #[error(
        "there is no {0} on the PATH; install Chromium and its WebDriver (Debian: the packages chromium and chromium-driver)"
    )]
    Missing(&'static str),
}

impl Kit {
    /// Looks on the PATH, after `CC_CI_CHROMEDRIVER` and `CC_CI_CHROMIUM`.
    pub fn find() -> Result<Kit, NoBrowser> {
        let told = |key: &str| std::env::var_os(key).map(PathBuf::from).filter(|path| path.is_file());
        let chromium = ["chromium", "chromium-browser", "google-chrome"].into_iter().find_map(on_path);
        Ok(Kit {
            bubblewrap: Bubblewrap::find()?,
            chromedriver: told("CC_CI_CHROMEDRIVER")
                .or_else(|| on_path("chromedriver"))
                .ok_or(NoBrowser::Missing("chromedriver"))?,
            chromium: told("CC_CI_CHROMIUM").or(chromium).ok_or(NoBrowser::Missing("chromium"))?,
        })
    }
}

/// Where the app is.
#[derive(Clone, Debug)]
pub struct Site {
    /// Every name it answers to, the main one first.
    pub hosts: Vec<AppDomain>,
    /// The proxy, for both schemes: `127.0.0.1:443`, `127.0.0.1:80`.
    pub https: String,
    pub http: String,
    /// Of the key in the certificate that is expected; see [`pin`].
    pub pin: Option<String>,
}

/// The hash of a certificate's key, as Chromium wants it. `pem` may hold a chain; its first certificate counts.
pub fn pin(pem: &[u8]) -> Result<String, String> {
    let (_, block) =
        x509_parser::pem::parse_x509_pem(pem).map_err(|error| format!("not a certificate in PEM: {error}"))?;
    let certificate = block.parse_x509().map_err(|error| format!("not a certificate: {error}"))?;
    Ok(super::tls::pin(&certificate))
}

impl Site {
    /// The app behind a proxy. The key that the proxy shows for the first name now is trusted, once it was checked.
    pub async fn behind(proxy: &config::Proxy, hosts: Vec<AppDomain>) -> Result<Site, Trouble> {
        let machine = |error: &dyn std::fmt::Display| Trouble::Machine(error.to_string());
        let prober = Prober::new(proxy).map_err(|error| machine(&error))?;
        let Some(main) = hosts.first() else { return Err(machine(&"the app has no domain")) };
        let pin = match prober.get(main, "/").await {
            Look::App(answer) => answer.certificate.map(|certificate| certificate.pin),
            // Its certificate may still be one that the browser trusts by itself.
            Look::NoRoute | Look::Gateway(_) | Look::Slow => None,
            nothing @ (Look::Nothing(_) | Look::Certificate(_)) => return Err(machine(&nothing)),
        };
        let mut http = proxy.address;
        http.set_port(proxy.http_port);
        Ok(Site { hosts, https: proxy.address.to_string(), http: http.to_string(), pin })
    }
}

/// A browser with one session. Dropping it ends everything of it.
pub struct Browser {
    cage: Cage,
    door: UnixStream,
    session: String,
    /// An answer was not waited for: whatever comes next would be taken for another one's.
    lost: bool,
    /// They end with it.
    _forwards: JoinSet<()>,
}

impl Browser {
    pub async fn start(kit: &Kit, site: &Site, cancel: &CancellationToken) -> Result<Browser, Trouble> {
        let dir = PrivateDir::make()?;
        let mut forwards = JoinSet::new();
        let mut sockets = Vec::new();
        for (name, to, inside) in [("https", &site.https, HTTPS_SOCKET), ("http", &site.http, HTTP_SOCKET)] {
            let path = dir.path().join(name);
            let listener = UnixListener::bind(&path).map_err(CageFault::Preparing)?;
            forwards.spawn(forward(listener, to.clone()));
            sockets.push((path, inside.to_owned()));
        }
        // chromedriver finds Chromium by the name `localhost`.
        let names = dir.path().join("hosts");
        tokio::fs::write(&names, "127.0.0.1 localhost\n").await.map_err(CageFault::Preparing)?;
        let mut shown = shown(kit);
        shown.push((names, "/etc/hosts".into()));
        let inside = Inside {
            software: Software::Programs,
            argv: argv([PROGRAM.as_ref(), WORD.as_ref(), kit.chromedriver.as_os_str()]),
            env: std::env::var_os("FONTCONFIG_FILE").map(|file| ("FONTCONFIG_FILE".into(), file)).into_iter().collect(),
            sockets,
            shown,
            tmp: TMP,
            limit: LIFE,
        };
        let (cage, door) = Cage::open(&kit.bubblewrap, dir, inside, cancel).await?;
        let mut browser = Browser { cage, door, session: String::new(), lost: false, _forwards: forwards };
        match timeout(START, browser.begin(kit, site)).await {
            Ok(begun) => begun.map(|()| browser),
            Err(_) => Err(Trouble::Machine(format!("the browser did not come up within {} s", START.as_secs()))),
        }
    }

    async fn begin(&mut self, kit: &Kit, site: &Site) -> Result<(), Trouble> {
        let hello = tokio::select! {
            hello = receive(&mut self.door, FROM_INSIDE) => hello,
            fault = self.cage.ended() => return Err(fault.into()),
        };
        match hello {
            Ok(inside::Word::Ready) => {}
            Ok(inside::Word::NotReady(reason)) => return Err(Trouble::Machine(reason)),
            Ok(inside::Word::Reply { .. }) => {
                return Err(Trouble::Machine("the browser answered before it was asked".into()));
            }
            Err(fault) => return Err(Trouble::Machine(format!("the browser: {fault}"))),
        }
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "pageLoadStrategy": "normal",
            "unhandledPromptBehavior": "dismiss",
            "timeouts": { "pageLoad": LOAD.as_millis(), "script": 10_000, "implicit": 0 },
            "goog:chromeOptions": { "binary": kit.chromium, "args": arguments(site) },
        } } });
        let made = self
            .ask("POST", "/session", Some(wanted))
            .await
            .map_err(|trouble| Trouble::Machine(trouble.to_string()))?;
        let id = made["sessionId"].as_str().unwrap_or_default();
        if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Err(Trouble::Machine("the browser gave no session".into()));
        }
        self.session = format!("/session/{id}");
        // A window is larger than its page by a frame that no one sees; this is the page.
        let screen = json!({ "width": WINDOW.0, "height": WINDOW.1, "deviceScaleFactor": 1, "mobile": false });
        let order = json!({ "cmd": "Emulation.setDeviceMetricsOverride", "params": screen });
        self.post("/goog/cdp/execute", order).await.map(drop)
    }

    /// Does one step.
    pub async fn step(&mut self, step: Step) -> Result<Seen, Trouble> {
        match step {
            Step::Open { url } => self.open(&url).await.map(|()| Seen::Done),
            Step::Fill { selector, text } => self.fill(&selector, &text).await.map(|()| Seen::Done),
            Step::Click { selector } => self.click(&selector).await.map(|()| Seen::Done),
            Step::Text { selector } => self.text(&selector).await.map(Seen::Text),
            Step::Title {} => self.title().await.map(Seen::Text),
            Step::Url {} => self.get("/url").await.map(|url| Seen::Text(text_of(&url))),
            Step::Frame { selector } => self.frame(selector.as_deref()).await.map(|()| Seen::Done),
            Step::Wait { selector, contains, milliseconds } => {
                let within = Duration::from_millis(milliseconds).min(LIFE);
                self.wait(&selector, contains.as_deref(), within).await.map(|()| Seen::Done)
            }
            Step::Screenshot { name } => self.screenshot().await.map(|png| Seen::Picture { name, png }),
        }
    }

    /// Loads a page of the app and waits until it is loaded.
    pub async fn open(&mut self, url: &str) -> Result<(), Trouble> {
        self.post("/url", json!({ "url": url })).await?;
        // For WebDriver, Chromium's own page about an error is a page like any other.
        let place = self.evaluate("return document.documentURI").await?;
        if !place.starts_with("chrome-error:") {
            return Ok(());
        }
        let text = self.evaluate("return document.body.innerText").await?;
        // Also where the app gave an error and no page with it.
        let code = text.lines().map(str::trim).find(|line| line.contains("ERR_") || line.starts_with("HTTP ERROR"));
        Err(Trouble::Page(format!("the page cannot be loaded: {}", brief(code.unwrap_or("Chromium does not say why")))))
    }

    async fn evaluate(&mut self, script: &str) -> Result<String, Trouble> {
        Ok(text_of(&self.post("/execute/sync", json!({ "script": script, "args": [] })).await?))
    }

    pub async fn title(&mut self) -> Result<String, Trouble> {
        Ok(text_of(&self.get("/title").await?))
    }

    /// All that is looked for is looked for in there, until another page is opened.
    pub async fn frame(&mut self, selector: Option<&str>) -> Result<(), Trouble> {
        let Some(selector) = selector else { return self.post("/frame", json!({ "id": null })).await.map(drop) };
        self.wait(selector, None, PATIENCE).await?;
        let element = self.find(selector).await?;
        self.post("/frame", json!({ "id": { ELEMENT: element } })).await.map(drop)
    }

    /// The text of an element, as it is seen.
    pub async fn text(&mut self, selector: &str) -> Result<String, Trouble> {
        Ok(text_of(&self.on(selector, "GET", "text", None).await?))
    }

    pub async fn click(&mut self, selector: &str) -> Result<(), Trouble> {
        self.on(selector, "POST", "click", Some(json!({}))).await.map(drop)
    }

    pub async fn fill(&mut self, selector: &str, text: &str) -> Result<(), Trouble> {
        self.on(selector, "POST", "clear", Some(json!({}))).await?;
        self.on(selector, "POST", "value", Some(json!({ "text": text }))).await.map(drop)
    }

    /// Does something with an element, when it is there. One that was replaced between the finding and the doing is looked for
    /// again.
    async fn on(&mut self, selector: &str, method: &str, what: &str, body: Option<Value>) -> Result<Value, Trouble> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let done = match self.find(selector).await {
                Ok(element) => {
                    let path = format!("{}/element/{element}/{what}", self.session);
                    self.ask(method, &path, body.clone()).await
                }
                Err(trouble) => Err(trouble),
            };
            match done {
                Err(Trouble::Page(text)) if (text == MISSING || text == GONE) && Instant::now() < deadline => {
                    sleep(LOOK).await;
                }
                Err(Trouble::Page(text)) => return Err(Trouble::Page(format!("`{selector}`: {text}"))),
                done => return done,
            }
        }
    }

    /// Waits for an element, and for a text in it.
    pub async fn wait(&mut self, selector: &str, contains: Option<&str>, within: Duration) -> Result<(), Trouble> {
        let deadline = Instant::now() + within;
        loop {
            let found = match (self.find(selector).await, contains) {
                (Ok(_), None) => Ok(()),
                (Ok(element), Some(wanted)) => match self.get(&format!("/element/{element}/text")).await {
                    Ok(text) if text_of(&text).contains(wanted) => Ok(()),
                    Ok(text) => Err(Trouble::Page(format!("it has {:?}, not {wanted:?}", brief(&text_of(&text))))),
                    Err(trouble) => Err(trouble),
                },
                (Err(trouble), _) => Err(trouble),
            };
            match found {
                Err(Trouble::Page(_)) if Instant::now() < deadline => sleep(LOOK).await,
                Err(Trouble::Page(text)) => {
                    return Err(Trouble::Page(format!("`{selector}`, after {} s: {text}", within.as_secs_f32())));
                }
                other => return other,
            }
        }
    }

    /// A picture of what the window shows.
    pub async fn screenshot(&mut self) -> Result<Vec<u8>, Trouble> {
        let taken = self.get("/screenshot").await?;
        let png = STANDARD.decode(taken.as_str().unwrap_or_default()).unwrap_or_default();
        if !png.starts_with(b"\x89PNG") {
            return Err(Trouble::Machine("the browser gave something that is no picture".into()));
        }
        if png.len() > LARGEST_PICTURE {
            return Err(Trouble::Page(format!("the picture is larger than {} MB", LARGEST_PICTURE >> 20)));
        }
        Ok(png)
    }

    /// It was given up while it was doing something, and does no more. Start another.
    pub fn is_lost(&self) -> bool {
        self.lost || self.cage.is_over()
    }

    /// Ends the session in good order. Dropping the browser does as well.
    pub async fn close(mut self) {
        let session = self.session.clone();
        let _ = timeout(Duration::from_secs(5), self.ask("DELETE", &session, None)).await;
    }

    /// An element that is there now.
    async fn find(&mut self, selector: &str) -> Result<String, Trouble> {
        let found = self.post("/element", json!({ "using": "css selector", "value": selector })).await?;
        let id = found[ELEMENT].as_str().unwrap_or_default();
        if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')) {
            return Err(Trouble::Machine("the browser gave no element".into()));
        }
        Ok(id.to_owned())
    }

    async fn get(&mut self, path: &str) -> Result<Value, Trouble> {
        let path = format!("{}{path}", self.session);
        self.ask("GET", &path, None).await
    }

    async fn post(&mut self, path: &str, body: Value) -> Result<Value, Trouble> {
        let path = format!("{}{path}", self.session);
        self.ask("POST", &path, Some(body)).await
    }

    async fn ask(&mut self, method: &str, path: &str, body: Option<Value>) -> Result<Value, Trouble> {
        if std::mem::replace(&mut self.lost, true) {
            return Err(Trouble::Machine("the browser was given up".into()));
        }
        let order = inside::Order { method: method.into(), path: path.into(), body };
        let carried = async {
            send(&mut self.door, TO_INSIDE, &order).await?;
            receive::<_, inside::Word>(&mut self.door, FROM_INSIDE).await
        };
        let word = tokio::select! {
            word = timeout(ANSWER, carried) => word,
            fault = self.cage.ended() => return Err(fault.into()),
        };
        self.lost = !matches!(word, Ok(Ok(_)));
        match word {
            Ok(Ok(inside::Word::Reply { status: 200, body })) => Ok(body["value"].clone()),
            Ok(Ok(inside::Word::Reply { body, .. })) => Err(trouble_of(&body["value"])),
            Ok(Ok(inside::Word::NotReady(reason))) => Err(Trouble::Machine(reason)),
            Ok(Ok(inside::Word::Ready)) => Err(Trouble::Machine("the browser started twice".into())),
            Ok(Err(fault)) => Err(Trouble::Machine(format!("the browser: {fault}"))),
            Err(_) => Err(Trouble::Machine(format!("the browser did not answer within {} s", ANSWER.as_secs()))),
        }
    }
}

/// A picture of the app's front page.
pub async fn front_page(kit: &Kit, site: &Site, cancel: &CancellationToken) -> Result<Vec<u8>, Trouble> {
    let Some(host) = site.hosts.first() else { return Err(Trouble::Machine("the app has no domain".into())) };
    let mut browser = Browser::start(kit, site, cancel).await?;
    browser.open(&format!("https://{host}/")).await?;
    let png = browser.screenshot().await?;
    browser.close().await;
    Ok(png)
}

fn text_of(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The words of a message without what chromedriver puts below them.
fn brief(text: &str) -> String {
    let lines = text
        .lines()
        .take_while(|line| !line.trim_start().starts_with("(Session info") && !line.starts_with("Stacktrace"));
    let words = lines.map(str::trim).collect::<Vec<_>>().join(" ");
    words.chars().filter(|c| !c.is_control()).take(300).collect()
}

/// Which side is at fault, by WebDriver's own words.
fn trouble_of(error: &Value) -> Trouble {
    let message = brief(error["message"].as_str().unwrap_or_default());
    let kind = error["error"].as_str().unwrap_or_default();
    match kind {
        "no such element" => Trouble::Page(MISSING.into()),
        "stale element reference" => Trouble::Page(GONE.into()),
        "timeout" => Trouble::Page(format!("the page did not load within {} s", LOAD.as_secs())),
        "unknown error" => match message.find("net::ERR_") {
            Some(at) => Trouble::Page(format!("the page cannot be loaded: {}", &message[at..])),
            None => Trouble::Machine(format!("the browser: {message}")),
        },
        "invalid session id"
        | "session not created"
        | "unknown command"
        | "unknown method"
        | "unable to capture screen"
        | "" => Trouble::Machine(format!("the browser: {kind}: {message}")),
        _ => Trouble::Page(format!("{kind}: {message}")),
    }
}

/// What Chromium is started with. Names that are not the app's do not exist for it.
fn arguments(site: &Site) -> Vec<String> {
    let mut rules: Vec<String> = Vec::new();
    for host in &site.hosts {
        rules.push(format!("MAP {host}:443 127.0.0.1:{HTTPS_PORT}"));
        rules.push(format!("MAP {host}:80 127.0.0.1:{HTTP_PORT}"));
    }
    rules.push("MAP * ^NOTFOUND".into());
    rules.push("EXCLUDE 127.0.0.1".into());
    let mut arguments: Vec<String> = [
        "--headless=new",
        // Its own sandbox needs user namespaces, which the cage does not give away.
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--disable-dev-shm-usage",
        "--disable-extensions",
        "--disable-sync",
        "--disable-component-update",
        "--disable-background-networking",
        "--disable-default-apps",
        // Plain HTTP is asked for where a page says so.
        "--disable-features=Translate,MediaRouter,OptimizationHints,HttpsUpgrades,HttpsFirstBalancedModeAutoEnable",
        "--no-first-run",
        "--no-default-browser-check",
        "--no-proxy-server",
        "--mute-audio",
        "--hide-scrollbars",
        "--lang=en",
        "--user-data-dir=/tmp/profile",
    ]
    .map(str::to_owned)
    .to_vec();
    arguments.push(format!("--window-size={},{}", WINDOW.0, WINDOW.1));
    arguments.push(format!("--host-resolver-rules={}", rules.join(", ")));
    if let Some(pin) = &site.pin {
        arguments.push(format!("--ignore-certificate-errors-spki-list={pin}"));
    }
    arguments
}

/// Programs that are not below `/usr` or in the Nix store, and fonts.
fn shown(kit: &Kit) -> Vec<(PathBuf, PathBuf)> {
    // Debian starts Chromium by a script that reads the second.
    let mut shown = vec![PathBuf::from("/etc/fonts"), PathBuf::from("/etc/chromium.d")];
    for program in [&kit.chromedriver, &kit.chromium] {
        let real = program.canonicalize().unwrap_or_else(|_| program.clone());
        if !real.starts_with("/usr") && !real.starts_with("/nix/store") {
            shown.extend(real.parent().map(PathBuf::from));
            shown.push(program.clone());
        }
    }
    shown.into_iter().map(|path| (path.clone(), path)).collect()
}

/// Connections that come out of the cage go to the proxy, so many at a time.
async fn forward(listener: UnixListener, to: String) {
    let mut open = JoinSet::new();
    loop {
        let Ok((mut inside, _)) = listener.accept().await else { return };
        while open.try_join_next().is_some() {}
        if open.len() >= CONNECTIONS {
            continue;
        }
        let to = to.clone();
        open.spawn(async move {
            if let Ok(Ok(mut proxy)) = timeout(Duration::from_secs(10), TcpStream::connect(to)).await {
                let _ = copy_bidirectional(&mut inside, &mut proxy).await;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn a_pin_is_the_hash_of_the_key() {
        let made = rcgen::generate_simple_self_signed(["app.example.org".to_owned()]).unwrap();
        let pin = pin(made.cert.pem().as_bytes()).unwrap();
        use rcgen::PublicKeyData;
        assert_eq!(pin, STANDARD.encode(Sha256::digest(made.signing_key.subject_public_key_info())));
        assert!(super::pin(b"nothing").is_err());
    }

    #[test]
    fn the_page_is_at_fault_for_what_it_lacks_and_the_machine_for_the_rest() {
        let said = |error: &str, message: &str| trouble_of(&json!({ "error": error, "message": message }));
        assert_eq!(said("no such element", "x"), Trouble::Page("there is no such element".into()));
        assert_eq!(
            said("unknown error", "unknown error: net::ERR_CONNECTION_REFUSED\n  (Session info: chrome=1)"),
            Trouble::Page("the page cannot be loaded: net::ERR_CONNECTION_REFUSED".into())
        );
        assert!(matches!(said("unknown error", "cannot connect to renderer"), Trouble::Machine(_)));
        assert!(matches!(said("invalid session id", ""), Trouble::Machine(_)));
        assert!(matches!(said("element not interactive", ""), Trouble::Page(_)));
    }
}

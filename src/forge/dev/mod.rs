//! A forge of our own, for the demo and the tests: the part of Gitea's API that cc-ci uses, real git over HTTP, a page to read
//! and write comments, and every misbehaviour that real forges were seen with, each on demand.
//!
//! It is made for one machine: `/_dev` sets things up without asking who is there. `docs/dev-forge.md` says how.

mod admin;
mod api;
mod auth;
mod git;
mod hooks;
mod line;
mod log;
mod markdown;
mod pages;
mod pushes;
mod remote;
mod shapes;
mod switches;
mod wait;
mod world;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri, header};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::auth::Asker;
use self::git::{Git, GitFault};
use self::line::{Cut, Lines};
use self::pushes::HeldPush;
pub use self::remote::{Remote, RemoteFault};
use self::shapes::Shapes;
use self::switches::{Act, Canned, Switchboard, Switches};
use self::world::World;
use crate::clock::{Clock, Time};

/// Bytes of a request's body; a comment of ten megabytes is one of the things to try.
const MOST_ASKED: usize = 32 << 20;

/// The forge: what it knows, how it behaves, and what it was asked.
struct Dev {
    dir: PathBuf,
    clock: Clock,
    git: Git,
    world: Mutex<World>,
    board: Mutex<Switchboard>,
    log: Mutex<log::Log>,
    held: Mutex<Vec<HeldPush>>,
    /// Whoever moves branches holds this.
    pushing: tokio::sync::Mutex<()>,
    /// Wakes whoever waits for something to be so.
    stirred: watch::Sender<u64>,
    /// Requests being worked on.
    under_way: AtomicUsize,
    /// The world on disk is older than the one here.
    stale: AtomicBool,
    address: SocketAddr,
    hooks: hooks::Sender,
    shutdown: CancellationToken,
}

/// Serves `dir` until told to stop; what is in it then is there at the next start.
pub async fn serve(listener: TcpListener, dir: PathBuf, shutdown: CancellationToken) -> io::Result<()> {
    std::fs::create_dir_all(&dir)?;
    let (stirred, _) = watch::channel(0);
    let dev = Arc::new(Dev {
        clock: Clock::system(),
        git: Git::open(dir.join("git"))?,
        world: Mutex::new(World::open(&dir)?),
        board: Mutex::default(),
        log: Mutex::default(),
        held: Mutex::default(),
        pushing: tokio::sync::Mutex::default(),
        stirred,
        under_way: AtomicUsize::new(0),
        stale: AtomicBool::new(false),
        address: listener.local_addr()?,
        hooks: hooks::Sender::new(),
        shutdown: shutdown.clone(),
        dir,
    });
    let writer = tokio::spawn(keep_on_disk(Arc::clone(&dev)));
    let routes = axum::Router::new().fallback(front).with_state(Arc::clone(&dev));
    let service = routes.into_make_service_with_connect_info::<Cut>();
    let serving = axum::serve(Lines(listener), service).with_graceful_shutdown(shutdown.clone().cancelled_owned());
    let all_gone = async {
        shutdown.cancelled().await;
        // Whoever keeps a connection open does not keep the forge.
        tokio::time::sleep(Duration::from_secs(2)).await;
    };
    let ended = tokio::select! {
        ended = async { serving.await } => ended,
        () = all_gone => Ok(()),
    };
    shutdown.cancel();
    writer.await.map_err(io::Error::other)?;
    ended
}

/// `cc-ci dev forge --listen 127.0.0.1:3000 --dir DIR`
pub fn main(arguments: Vec<std::ffi::OsString>) -> ExitCode {
    use clap::Parser;

    /// A forge for the demo and the tests, on this machine only.
    #[derive(Parser)]
    #[command(name = "cc-ci dev forge")]
    struct Arguments {
        /// Where it answers; port 0 takes a free one and prints it.
        #[arg(long, default_value = "127.0.0.1:3000")]
        listen: SocketAddr,
        /// What it knows is kept there.
        #[arg(long)]
        dir: PathBuf,
    }
    let arguments = Arguments::parse_from(std::iter::once("cc-ci dev forge".into()).chain(arguments));
    let run = async {
        let listener = TcpListener::bind(arguments.listen).await?;
        crate::say!("http://{}", listener.local_addr()?);
        let shutdown = CancellationToken::new();
        let mut terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        let stop = shutdown.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminated.recv() => {}
            }
            stop.cancel();
        });
        serve(listener, arguments.dir, shutdown).await
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    match runtime.and_then(|runtime| runtime.block_on(run)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            crate::aside!("cc-ci dev forge: {error}");
            ExitCode::from(3)
        }
    }
}

/// Writes the world to disk after it changed; many changes at once are written once.
async fn keep_on_disk(dev: Arc<Dev>) {
    let mut stirred = dev.stirred.subscribe();
    loop {
        let is_last = tokio::select! {
            _ = stirred.changed() => false,
            () = dev.shutdown.cancelled() => true,
        };
        if dev.stale.swap(false, Ordering::SeqCst) {
            let copy = dev.look(|world| serde_json::to_vec(world).unwrap_or_default());
            let dir = dev.dir.clone();
            let saved = tokio::task::spawn_blocking(move || World::save(&copy, &dir)).await;
            if let Err(error) = saved.map_err(io::Error::other).flatten() {
                tracing::error!(%error, "the forge's world could not be written");
            }
        }
        if is_last {
            return;
        }
    }
}

/// A request to the API, read whole.
struct Ask {
    method: Method,
    /// Below the forge's sub-path, without the query.
    path: String,
    /// As it was asked for, sub-path and query included.
    target: String,
    query: BTreeMap<String, String>,
    body: Bytes,
    asker: Asker,
}

impl Ask {
    fn query(&self, key: &str) -> &str {
        self.query.get(key).map_or("", String::as_str)
    }

    fn json(&self) -> Result<Value, Refusal> {
        let body: &[u8] = if self.body.is_empty() { b"{}" } else { &self.body };
        serde_json::from_slice(body).map_err(|error| Refusal::new(422, format!("[]: {error}")))
    }
}

/// An answer that is no, in Gitea's form.
struct Refusal {
    status: u16,
    message: String,
    location: Option<String>,
}

impl Refusal {
    fn new(status: u16, message: impl Into<String>) -> Refusal {
        Refusal { status, message: message.into(), location: None }
    }

    fn not_found() -> Refusal {
        Refusal::new(404, "The target couldn't be found.")
    }

    fn redirect(status: u16, location: String) -> Refusal {
        Refusal { status, message: String::new(), location: Some(location) }
    }

    fn answer(self, root: &str) -> Response<Body> {
        let mut answer = match self.location {
            Some(_) => plain(self.status, Body::empty()),
            None => answer(self.status, &json!({"message": self.message, "url": format!("{root}/api/swagger")})),
        };
        if let Some(location) = self.location.and_then(|to| HeaderValue::from_str(&to).ok()) {
            answer.headers_mut().insert(header::LOCATION, location);
        }
        if self.status == 401 {
            answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"Gitea\""));
        }
        answer
    }
}

impl From<GitFault> for Refusal {
    fn from(fault: GitFault) -> Refusal {
        Refusal::new(500, fault.to_string())
    }
}

type Reply = Result<Response<Body>, Refusal>;

fn plain(status: u16, body: Body) -> Response<Body> {
    let mut answer = Response::new(body);
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer
}

fn answer(status: u16, json: &Value) -> Response<Body> {
    let mut answer = plain(status, Body::from(json.to_string()));
    let kind = HeaderValue::from_static("application/json;charset=utf-8");
    answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    answer
}

fn read_query(uri: &Uri) -> BTreeMap<String, String> {
    Query::<Vec<(String, String)>>::try_from_uri(uri).map(|pairs| pairs.0.into_iter().collect()).unwrap_or_default()
}

/// Every request comes through here: the misbehaviour first, then the door it is for, then the log.
async fn front(State(dev): State<Arc<Dev>>, ConnectInfo(cut): ConnectInfo<Cut>, request: Request) -> Response<Body> {
    let path = request.uri().path().to_owned();
    if let Some(rest) = path.strip_prefix("/_dev/") {
        return admin::respond(&dev, rest, request).await;
    }
    let target = request.uri().path_and_query().map_or(path.clone(), |target| target.as_str().to_owned());
    let act = dev.board().strike(request.method().as_str(), &target);
    let _busy = Busy::with(&dev.under_way);
    let entry = log::Entry::begin(&dev, &request, &target).under_way(dev.under_way.load(Ordering::SeqCst));
    match act {
        Some(Act::Reset) => {
            cut.now();
            dev.log().add(entry.cut());
            dev.stir();
            return plain(500, Body::empty());
        }
        Some(Act::Answer(canned)) => {
            dev.log().add(entry.ended(canned.status));
            dev.stir();
            return dev.dated(say(&canned));
        }
        _ => {}
    }
    let (mut answer, entry) = dev.open_door(path, target, request, entry).await;
    match act {
        Some(Act::Slow(ms)) => dev.pause(ms).await,
        Some(Act::Stall) => answer = dev.half_of(answer).await,
        Some(Act::ResetAfter) => cut.now(),
        _ => {}
    }
    dev.log().add(entry.ended(answer.status().as_u16()));
    dev.stir();
    dev.dated(answer)
}

/// Counts a request as long as it is worked on, also one whose asker went away.
struct Busy<'a>(&'a AtomicUsize);

impl Busy<'_> {
    fn with(count: &AtomicUsize) -> Busy<'_> {
        count.fetch_add(1, Ordering::SeqCst);
        Busy(count)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn say(canned: &Canned) -> Response<Body> {
    const HTML: &str =
        "<!DOCTYPE html>\n<html><head><title>Bad gateway</title></head><body><h1>Try later</h1></body></html>\n";
    let mut answer = plain(canned.status, Body::from(canned.body.clone().unwrap_or_else(|| HTML.into())));
    let kind = if canned.body.is_none() { "text/html; charset=utf-8" } else { "application/json;charset=utf-8" };
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    for (name, value) in &canned.headers {
        if let (Ok(name), Ok(value)) = (name.parse::<header::HeaderName>(), HeaderValue::from_str(value)) {
            answer.headers_mut().insert(name, value);
        }
    }
    answer
}

impl Dev {
    /// API, git or page: whichever the path is of.
    async fn open_door(
        &self,
        path: String,
        target: String,
        request: Request,
        mut entry: log::Entry,
    ) -> (Response<Body>, log::Entry) {
        let root = self.root();
        let sub_path = self.switches(|switches| switches.sub_path.clone());
        let Some(path) = path.strip_prefix(sub_path.as_str()).filter(|path| path.starts_with('/')) else {
            return (Refusal::not_found().answer(&root), entry);
        };
        let path = path.to_owned();
        if let Some(at) = api::git_path(&path) {
            let reply = api::git_over_http(self, at, &target, request).await;
            return (reply.unwrap_or_else(|refusal| refusal.answer(&root)), entry);
        }
        let (parts, body) = request.into_parts();
        let Ok(body) = axum::body::to_bytes(body, MOST_ASKED).await else {
            return (Refusal::new(413, "too large").answer(&root), entry);
        };
        entry.keep_body(&body);
        let query = read_query(&parts.uri);
        let is_api = path.starts_with("/api/");
        let reply = match self.asker(&parts.headers) {
            Err(refusal) if is_api => Err(refusal),
            asker => {
                let asker = asker.unwrap_or_default();
                let ask = Ask { method: parts.method, path, target, query, body, asker };
                if is_api { api::route(self, &ask).await } else { pages::route(self, &ask).await }
            }
        };
        (reply.unwrap_or_else(|refusal| refusal.answer(&root)), entry)
    }

    fn now(&self) -> Time {
        let skew = self.switches(|switches| switches.skew_s);
        Time(self.clock.now().0 + skew * 1000)
    }

    /// The address that links begin with.
    fn root(&self) -> String {
        let address = self.address;
        let own = |switches: &Switches| {
            let sub_path = &switches.sub_path;
            switches.root_url.clone().unwrap_or_else(|| format!("http://{address}{sub_path}"))
        };
        self.switches(own).trim_end_matches('/').to_owned()
    }

    /// Reads what is known.
    fn look<T>(&self, at: impl FnOnce(&World) -> T) -> T {
        at(&self.world.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes what is known; it is written down soon, and whoever waits looks again.
    fn change<T>(&self, how: impl FnOnce(&mut World) -> T) -> T {
        let result = how(&mut self.world.lock().unwrap_or_else(PoisonError::into_inner));
        self.stale.store(true, Ordering::SeqCst);
        self.stir();
        result
    }

    /// Shows what is known in Gitea's form.
    fn show<T>(&self, how: impl FnOnce(&Shapes<'_>) -> T) -> T {
        let (switches, root) = (self.switches(Switches::clone), self.root());
        self.look(|world| how(&Shapes { world, switches: &switches, root: &root }))
    }

    fn switches<T>(&self, read: impl FnOnce(&Switches) -> T) -> T {
        read(&self.board().now)
    }

    fn board(&self) -> MutexGuard<'_, Switchboard> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log(&self) -> MutexGuard<'_, log::Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn held(&self) -> MutexGuard<'_, Vec<HeldPush>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stir(&self) {
        self.stirred.send_modify(|count| *count += 1);
    }

    async fn pause(&self, ms: u64) {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(ms)) => {}
            () = self.shutdown.cancelled() => {}
        }
    }

    /// The first half of an answer, and then silence.
    async fn half_of(&self, whole: Response<Body>) -> Response<Body> {
        let (mut parts, body) = whole.into_parts();
        let body = axum::body::to_bytes(body, MOST_ASKED).await.unwrap_or_default();
        let half = body.slice(..body.len() / 2);
        let shutdown = self.shutdown.clone();
        let silence = stream::once(async move {
            shutdown.cancelled().await;
            Err(io::Error::from(io::ErrorKind::ConnectionReset))
        });
        parts.headers.remove(header::CONTENT_LENGTH);
        Response::from_parts(parts, Body::from_stream(stream::iter([Ok(half)]).chain(silence)))
    }

    /// With the server's clock on it.
    fn dated(&self, mut answer: Response<Body>) -> Response<Body> {
        let date = self.now().format("%a, %d %b %Y %H:%M:%S GMT");
        if let Ok(date) = HeaderValue::from_str(&date)
            && !answer.headers().contains_key(header::DATE)
        {
            answer.headers_mut().insert(header::DATE, date);
        }
        answer
    }
}

fn text_header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

//! The pages. What is here only reads: the database through [`Store`], logs through [`crate::logs`]; it never touches Docker.
//!
//! A page is a plain struct, read in one look at the database, and a pure function that writes it as HTML. Rendered pages are
//! kept in memory under their address and a stamp of what they show (`cache`, `news`); a change makes the stamp older, so
//! that nobody is shown what is over, and a thousand readers of one page cost one rendering.

mod about;
mod answer;
pub mod api;
mod assets;
mod badge;
mod cache;
mod changes;
mod chart;
mod compare;
mod decisions;
mod evidence;
mod feed;
mod health;
mod hosts;
mod layout;
mod lines;
mod links;
mod listen;
mod live;
mod metrics;
mod news;
mod outside;
mod overview;
mod queue;
mod raw_log;
mod recipe;
mod repositories;
mod routes;
mod run;
mod runs;
mod search;
mod shelf;
mod style;
mod words;

pub use routes::PAGES;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, Response, StatusCode, Uri};
use hyper_util::service::TowerToHyperService;
use maud::Markup;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use self::answer::{Rendered, Wrong};
use self::cache::{Cache, Topic};
use self::news::News;
use crate::alarms::Alarms;
use crate::bell::Bell;
use crate::clock::{Clock, Time};
use crate::config::Config;
use crate::forge::gitea::Gitea;
use crate::intake::trigger::Desk;
use crate::store::Store;

/// Rendered pages kept: where they lie takes a few hundred bytes of memory each.
const KEPT_PAGES: usize = 6000;
/// Of disk, for what they say.
const KEPT_BYTES: u64 = 128 << 20;

/// What the pages are made from.
pub struct Web {
    pub store: Store,
    pub clock: Clock,
    pub alarms: Alarms,
    /// Where the runs' logs are.
    pub logs_dir: PathBuf,
    /// Where the runs' evidence is.
    pub evidence_dir: PathBuf,
    /// Where drawn pages may lie, in a file without a name.
    pub pages_dir: PathBuf,
    /// How people reach the pages, without a slash at the end.
    pub address: String,
    /// The forge's address, for links to pull requests; `None` leaves them out.
    pub forge: Option<String>,
    pub organisation: String,
    /// Between two polls: a poll much older than this is an alarm. `None` where nobody polls.
    pub poll_interval: Option<Duration>,
    /// Live followers that one client may have.
    pub followers_each: usize,
    /// Where the API's runs are asked for; `None` where nobody asks a forge.
    pub desk: Option<Desk<Gitea>>,
    /// Rung when an action has something for the runner.
    pub runner: Option<Bell>,
    /// Mounted beside the pages: the webhook. It must not have a fallback of its own.
    pub extra: Router,
}

impl Web {
    pub fn new(store: Store, clock: Clock, config: &Config, alarms: Alarms) -> Web {
        Web {
            store,
            clock,
            alarms,
            logs_dir: config.logs_dir(),
            evidence_dir: config.evidence_dir(),
            pages_dir: config.state_dir.clone(),
            address: config.web.address(),
            forge: Some(config.forge.url.trim_end_matches('/').to_owned()),
            organisation: config.forge.organisation.to_string(),
            poll_interval: Some(config.forge.poll.interval),
            followers_each: 10,
            desk: None,
            runner: None,
            extra: Router::new(),
        }
    }
}

/// Answers until `shutdown`; then open answers are given a moment to end.
pub async fn serve(listener: TcpListener, web: Web, shutdown: CancellationToken) -> std::io::Result<()> {
    listen::serve(listener, Arc::new(Front::new(web, shutdown.clone())), shutdown).await
}

/// What every page reads from.
struct Site {
    store: Store,
    clock: Clock,
    alarms: Alarms,
    logs: Arc<Path>,
    evidence: PathBuf,
    address: String,
    forge: Option<String>,
    organisation: String,
    poll_interval: Option<Duration>,
    started_at: Time,
    cache: Cache,
    news: Arc<News>,
    live: live::Live,
    changes: changes::Changes,
    desk: Option<Desk<Gitea>>,
    runner: Option<Bell>,
    guard: api::Guard,
}

impl Site {
    fn now(&self) -> Time {
        self.clock.now()
    }

    fn ring(&self) {
        self.runner.iter().for_each(Bell::ring);
    }

    /// The page at `address`, from the cache when nothing that it shows has changed. `render` says the page and the newest
    /// moment on it, from which follows how long its ages stay true. Only the one spelling of an address that the site's own
    /// links use is kept.
    async fn page<F>(&self, asked: &Uri, address: String, topic: Topic, render: F) -> Result<Rendered, Wrong>
    where
        F: Future<Output = Result<Fresh, Wrong>>,
    {
        let own_spelling = asked.path_and_query().is_some_and(|asked| asked.as_str() == address);
        if !own_spelling {
            return Ok(render.await?.rendered);
        }
        self.news.catch_up().await?;
        // Whoever comes while one is rendering waits for that one.
        let _turn = self.cache.turn(&address).await;
        if let Some(hit) = self.cache.get(&address, &self.news, self.now())
            && let Some((body, _)) = self.cache.read(&hit, false).await
        {
            return Ok(Rendered { label: hit.label, body });
        }
        let stamp = self.news.stamp(topic);
        let fresh = render.await?;
        self.cache.put(address, &fresh.rendered, topic, stamp, self.now().plus(fresh.good_for)).await;
        Ok(fresh.rendered)
    }
}

/// A page just rendered, and for how long the ages on it stay true.
struct Fresh {
    rendered: Rendered,
    good_for: Duration,
}

impl Fresh {
    /// Ages on it are at most a twentieth wrong; `newest` is the moment whose age grows fastest.
    fn page(html: Markup, now: Time, newest: Option<Time>) -> Fresh {
        let age = newest.map_or(Duration::from_secs(600), |newest| now.since(newest));
        let good_for = (age / 20).clamp(Duration::from_secs(1), Duration::from_secs(600));
        Fresh { rendered: Rendered::html(html), good_for }
    }

    fn at_most(self, longest: Duration) -> Fresh {
        Fresh { good_for: self.good_for.min(longest), ..self }
    }
}

/// The door: pages that are kept are answered here, all else by the router.
struct Front {
    site: Arc<Site>,
    router: TowerToHyperService<Router>,
}

impl Front {
    fn new(web: Web, shutdown: CancellationToken) -> Front {
        let news = Arc::new(News::new(web.store.clone()));
        let logs: Arc<Path> = web.logs_dir.into();
        let changes = changes::Changes::new(Arc::clone(&news), web.clock.now(), shutdown.clone());
        let live =
            live::Live::new(web.followers_each, web.store.clone(), Arc::clone(&logs), Arc::clone(&news), shutdown);
        let site = Arc::new(Site {
            live,
            changes,
            desk: web.desk,
            runner: web.runner,
            guard: api::Guard::default(),
            logs,
            evidence: web.evidence_dir,
            news,
            started_at: web.clock.now(),
            store: web.store,
            clock: web.clock,
            alarms: web.alarms,
            address: web.address,
            forge: web.forge,
            organisation: web.organisation,
            poll_interval: web.poll_interval,
            cache: Cache::new(&web.pages_dir, KEPT_PAGES, KEPT_BYTES),
        });
        let router = TowerToHyperService::new(routes::router(&site, web.extra));
        Front { site, router }
    }

    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let known = answer::Known::of(request.headers());
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        let asks_how = request.method() == Method::OPTIONS;
        if reads && let Some(response) = self.kept(request.uri(), &known).await {
            return response;
        }
        let mut response = match hyper::service::Service::call(&self.router, request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        if asks_how
            && response.status() == StatusCode::METHOD_NOT_ALLOWED
            && let Some(options) = answer::options(&response)
        {
            response = options;
        }
        answer::finish(&mut response, reads, &known);
        response
    }

    async fn kept(&self, uri: &Uri, known: &answer::Known) -> Option<Response<Body>> {
        let address = uri.path_and_query()?.as_str();
        self.site.news.catch_up().await.ok()?;
        let hit = self.site.cache.get(address, &self.site.news, self.site.now())?;
        if hit.label.is_known(known) {
            return Some(hit.label.unchanged());
        }
        let (bytes, form) = self.site.cache.read(&hit, known.takes_zstd).await?;
        Some(hit.label.respond_with(bytes, form))
    }
}

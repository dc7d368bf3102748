//! The other side: a server of HTTP that is a webhook's receiver and a Matrix server, and one that takes mail.

#![allow(dead_code, reason = "every suite uses its part")]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::support::eventually;

/// What was asked of the server.
#[derive(Clone, Debug)]
pub(crate) struct Post {
    pub(crate) method: String,
    pub(crate) path: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Post {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    pub(crate) fn is_signed_with(&self, secret: &str) -> bool {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        mac.update(&self.body);
        self.header("x-hub-signature-256") == format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
    }
}

#[derive(Clone)]
pub(crate) struct Http {
    address: String,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    posts: Mutex<Vec<Post>>,
    /// How the next so many are answered.
    refusals: Mutex<(u16, usize)>,
    transactions: Mutex<BTreeSet<String>>,
    held: watch::Sender<bool>,
}

impl Http {
    pub(crate) async fn start() -> Http {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let http = Http { address, seen: Arc::default() };
        let router = Router::new().fallback(take).with_state(http.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        http
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.address)
    }

    pub(crate) fn answers(&self, status: u16, times: usize) {
        *self.seen.refusals.lock().unwrap() = (status, times);
    }

    /// Takes what comes and answers nothing.
    pub(crate) fn holds(&self) {
        self.seen.held.send_replace(true);
    }

    pub(crate) fn lets_go(&self) {
        self.seen.held.send_replace(false);
    }

    pub(crate) fn posts(&self) -> Vec<Post> {
        self.seen.posts.lock().unwrap().clone()
    }

    pub(crate) async fn got(&self, count: usize) {
        eventually("a request", || async {
            let got = self.posts().len();
            if got >= count { Ok(()) } else { Err(format!("{got} came")) }
        })
        .await;
    }

    /// Messages that stand in rooms: one a transaction.
    pub(crate) fn transactions(&self) -> usize {
        self.seen.transactions.lock().unwrap().len()
    }
}

async fn take(State(http): State<Http>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let path = uri.path().to_owned();
    http.seen.posts.lock().unwrap().push(Post { method: method.to_string(), path: path.clone(), headers, body });
    let refused = {
        let mut refusals = http.seen.refusals.lock().unwrap();
        let left = refusals.1;
        refusals.1 = left.saturating_sub(1);
        (left > 0).then_some(refusals.0)
    };
    if let Some(status) = refused {
        return (StatusCode::from_u16(status).unwrap(), [("retry-after", "90")], "not now\n").into_response();
    }
    if method != Method::PUT {
        return StatusCode::NO_CONTENT.into_response();
    }
    http.seen.transactions.lock().unwrap().insert(path.clone());
    let mut held = http.seen.held.subscribe();
    let _ = held.wait_for(|held| !held).await;
    axum::Json(serde_json::json!({ "event_id": format!("$of{path}") })).into_response()
}

/// A mail as it was handed over.
#[derive(Clone, Debug, Default)]
pub(crate) struct Letter {
    pub(crate) encrypted: bool,
    /// What `AUTH PLAIN` said.
    pub(crate) login: String,
    pub(crate) to: Vec<String>,
    pub(crate) text: String,
}

impl Letter {
    /// The header's value, its folds undone; empty where there is none.
    pub(crate) fn header(&self, name: &str) -> String {
        let head = self.text.split("\r\n\r\n").next().unwrap().replace("\r\n ", " ");
        let start = format!("{name}: ");
        head.split("\r\n").find_map(|line| line.strip_prefix(&start)).unwrap_or_default().to_owned()
    }

    pub(crate) fn body(&self) -> String {
        let body = self.text.split_once("\r\n\r\n").unwrap().1;
        match self.header("Content-Transfer-Encoding").as_str() {
            "quoted-printable" => body.replace("=\r\n", "").replace("=3D", "="),
            _ => body.to_owned(),
        }
    }
}

pub(crate) struct Mailbox {
    pub(crate) port: u16,
    /// The certificate to trust, in PEM.
    pub(crate) authority: String,
    seen: Arc<Letters>,
}

#[derive(Default)]
struct Letters {
    letters: Mutex<Vec<Letter>>,
    refusals: AtomicUsize,
}

impl Mailbox {
    pub(crate) async fn start(implicit: bool) -> Mailbox {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let tls = rustls::ServerConfig::builder().with_no_client_auth();
        let tls = tls.with_single_cert(vec![made.cert.der().clone()], key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (port, seen) = (listener.local_addr().unwrap().port(), Arc::<Letters>::default());
        let letters = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, acceptor.clone(), implicit, Arc::clone(&letters)));
            }
        });
        Mailbox { port, authority: made.cert.pem(), seen }
    }

    /// The next so many are not taken.
    pub(crate) fn refuses(&self, times: usize) {
        self.seen.refusals.store(times, Ordering::SeqCst);
    }

    /// All that came, taken or not.
    pub(crate) fn letters(&self) -> Vec<Letter> {
        self.seen.letters.lock().unwrap().clone()
    }
}

async fn serve(stream: TcpStream, acceptor: TlsAcceptor, implicit: bool, seen: Arc<Letters>) {
    if implicit {
        let Ok(stream) = acceptor.accept(stream).await else { return };
        talk(stream, true, true, &seen).await;
        return;
    }
    if let Some(plain) = talk(stream, true, false, &seen).await
        && let Ok(stream) = acceptor.accept(plain).await
    {
        talk(stream, false, true, &seen).await;
    }
}

/// One session; gives the stream back where the other side wants TLS on it.
async fn talk<S: AsyncRead + AsyncWrite + Unpin>(stream: S, greet: bool, encrypted: bool, seen: &Letters) -> Option<S> {
    let mut stream = BufReader::new(stream);
    if greet {
        stream.write_all(b"220 here\r\n").await.ok()?;
    }
    let mut letter = Letter { encrypted, ..Letter::default() };
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let line = line.trim_end();
        let word = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        let answer = match word.as_str() {
            "EHLO" if encrypted => "250-here\r\n250 AUTH PLAIN",
            "EHLO" => "250-here\r\n250 STARTTLS",
            "STARTTLS" => {
                stream.write_all(b"220 go on\r\n").await.ok()?;
                return Some(stream.into_inner());
            }
            "AUTH" => {
                let said = line.rsplit(' ').next().unwrap_or_default();
                let said = base64::engine::general_purpose::STANDARD.decode(said).unwrap_or_default();
                letter.login = String::from_utf8_lossy(&said).into_owned();
                "235 come in"
            }
            "RCPT" => {
                letter.to.push(line.split_once(':').map(|(_, to)| to.trim().to_owned()).unwrap_or_default());
                "250 ok"
            }
            "DATA" => {
                stream.write_all(b"354 speak\r\n").await.ok()?;
                while !letter.text.ends_with("\r\n.\r\n") {
                    stream.read_line(&mut letter.text).await.ok()?;
                }
                seen.letters.lock().unwrap().push(letter.clone());
                let refused = |left: usize| left.checked_sub(1);
                match seen.refusals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, refused) {
                    Ok(_) => "451 not now",
                    Err(_) => "250 taken",
                }
            }
            "QUIT" => {
                stream.write_all(b"221 bye\r\n").await.ok()?;
                return None;
            }
            _ => "250 ok",
        };
        stream.write_all(format!("{answer}\r\n").as_bytes()).await.ok()?;
    }
}

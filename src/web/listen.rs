//! Takes connections and answers on them. A client that sends nothing is let go, and there is a limit to how many may stand
//! open, so that nobody can take the pages away from the others.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Front;

/// Connections that may stand open.
const MOST_CONNECTIONS: usize = 4096;
/// From the first byte, or since the last answer, to the end of a request's head.
const HEAD_WITHIN: Duration = Duration::from_secs(30);
/// What a connection that was just taken is given for its first request when the server ends: its client has no way to know
/// that nobody will answer, and the one who listens next never hears of it.
const FIRST_WITHIN: Duration = Duration::from_millis(150);
/// What an answer in progress is given when the server ends.
const GRACE: Duration = Duration::from_secs(3);

/// The other end of a connection, as an extension of its requests.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub SocketAddr);

pub(super) async fn serve(
    listener: TcpListener,
    front: Arc<Front>,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let open = TaskTracker::new();
    loop {
        let Ok(seat) = Arc::clone(&room).acquire_owned().await else { break };
        let (stream, peer) = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, mostly: the next one will end some time.
                    tracing::warn!(error = %error, "a connection could not be taken");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let front = Arc::clone(&front);
        let shutdown = shutdown.clone();
        open.spawn(async move {
            converse(stream, peer, front, shutdown).await;
            drop(seat);
        });
    }
    drop(listener);
    open.close();
    let _ = tokio::time::timeout(GRACE, open.wait()).await;
    Ok(())
}

async fn converse(stream: TcpStream, peer: SocketAddr, front: Arc<Front>, shutdown: CancellationToken) {
    let _ = stream.set_nodelay(true);
    let asked = CancellationToken::new();
    let heard = asked.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        heard.cancel();
        let front = Arc::clone(&front);
        async move {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(Peer(peer));
            Ok::<_, Infallible>(front.answer(request).await)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(64 << 10)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    // What goes wrong here is the client going away; nobody needs to hear of it.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = shutdown.cancelled() => {}
    }
    tokio::select! {
        _ = connection.as_mut() => return,
        () = asked.cancelled() => {}
        () = tokio::time::sleep(FIRST_WITHIN) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

//! `cc-ci browser-child`: the part of the browser that is inside the cage. It starts chromedriver, carries WebDriver's requests
//! to it from our socket, and the browser's connections from its loopback to the app's sockets.
//!
//! The cage has no network but a loopback of its own, so these sockets are all that a page can reach.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{ExitCode, Stdio};
use std::thread;

use rustix::process::{Resource, Rlimit, setrlimit};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{FROM_INSIDE, HTTP_PORT, HTTP_SOCKET, HTTPS_PORT, HTTPS_SOCKET, TO_INSIDE};
use crate::sandbox::bubblewrap::DOOR;
use crate::sandbox::frame::{receive_now, send_now};

/// The word by which `main` knows it.
pub const WORD: &str = "browser-child";

/// One WebDriver request.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) body: Option<Value>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Word {
    /// chromedriver listens.
    Ready,
    /// It cannot be had, and why.
    NotReady(String),
    Reply {
        status: u16,
        body: Value,
    },
}

/// Runs until the other side hangs up. The one argument is chromedriver's path.
pub fn main(args: Vec<OsString>) -> ExitCode {
    match UnixStream::connect(DOOR).and_then(|door| serve(door, &args)) {
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
            eprintln!("browser-child: {error}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

fn serve(mut door: UnixStream, args: &[OsString]) -> io::Result<()> {
    // A page that breaks out of its renderer shall not fork without end, nor leave cores in memory.
    for (resource, most) in [(Resource::Nproc, 4096), (Resource::Core, 0)] {
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
    }
    let started = forward(HTTPS_PORT, HTTPS_SOCKET)
        .and_then(|()| forward(HTTP_PORT, HTTP_SOCKET))
        .and_then(|()| start_driver(args.first().ok_or_else(|| io::Error::other("chromedriver's path is missing"))?));
    let port = match started {
        Ok(port) => port,
        Err(error) => return send_now(&mut door, FROM_INSIDE, &Word::NotReady(error.to_string())),
    };
    send_now(&mut door, FROM_INSIDE, &Word::Ready)?;
    loop {
        let order: Order = receive_now(&mut door, TO_INSIDE)?;
        let reply = match carry(port, &order) {
            Ok((status, body)) => Word::Reply { status, body },
            Err(error) => Word::NotReady(format!("chromedriver does not answer: {error}")),
        };
        send_now(&mut door, FROM_INSIDE, &reply)?;
    }
}

/// Starts chromedriver on a port of its choice, and waits until it says which.
#[expect(clippy::disallowed_methods, reason = "inside the cage; bubblewrap ends the whole tree")]
fn start_driver(path: &OsString) -> io::Result<u16> {
    let mut child = std::process::Command::new(path)
        .args(["--port=0", "--allowed-ips=127.0.0.1"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| io::Error::new(error.kind(), format!("chromedriver cannot be started: {error}")))?;
    let stdout = child.stdout.take().ok_or_else(|| io::Error::other("chromedriver has no output"))?;
    let mut lines = BufReader::new(stdout).lines();
    let port = loop {
        let line = lines.next().ok_or_else(|| io::Error::other("chromedriver ended before it listened"))??;
        if let Some((_, rest)) = line.split_once("started successfully on port ") {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            break digits.parse().map_err(io::Error::other)?;
        }
    };
    // It would not like to find its pipe closed.
    thread::Builder::new().spawn(move || lines.map_while(Result::ok).for_each(drop))?;
    Ok(port)
}

/// One request to chromedriver; it closes the connection after its answer.
fn carry(port: u16, order: &Order) -> io::Result<(u16, Value)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    let body = order.body.as_ref().map(Value::to_string).unwrap_or_default();
    write!(
        stream,
        "{} {} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        order.method,
        order.path,
        body.len(),
    )?;
    let mut answer = BufReader::new(stream.take(FROM_INSIDE as u64));
    let mut line = String::new();
    answer.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| io::Error::other("an answer that is not HTTP"))?;
    let mut length = None;
    loop {
        line.clear();
        answer.read_line(&mut line)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.trim().parse::<u64>().ok();
            }
            Some(_) => {}
            None => break,
        }
    }
    let mut body = Vec::new();
    answer.take(length.unwrap_or(u64::MAX)).read_to_end(&mut body)?;
    Ok((status, serde_json::from_slice(&body)?))
}

/// Connections to a port of the loopback go to a socket of the app.
fn forward(port: u16, socket: &'static str) -> io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    thread::Builder::new().spawn(move || {
        for browser in listener.incoming().filter_map(Result::ok) {
            let Ok(app) = UnixStream::connect(socket) else { continue };
            let (Ok(browser_too), Ok(app_too)) = (browser.try_clone(), app.try_clone()) else { continue };
            // Where no thread can be had, the connection closes.
            let _ = thread::Builder::new().spawn(move || {
                let _ = io::copy(&mut &browser, &mut &app);
                let _ = app.shutdown(Shutdown::Write);
            });
            let _ = thread::Builder::new().spawn(move || {
                let _ = io::copy(&mut &app_too, &mut &browser_too);
                let _ = browser_too.shutdown(Shutdown::Both);
            });
        }
    })?;
    Ok(())
}

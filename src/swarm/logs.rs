//! What services and containers print: the last lines, or as they come.

use std::time::Duration;

use bollard::container::LogOutput;
use bollard::query_parameters::{LogsOptions, LogsOptionsBuilder};
use futures_util::stream::{Stream, StreamExt};

use super::client::{Swarm, SwarmFault, Why};

/// Longest line that is kept whole.
const LINE: usize = 4096;
const READ: Duration = Duration::from_secs(10);

/// Something that was printed, in the pieces Docker gives: mostly, but not always, a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Printed {
    /// On standard error.
    pub err: bool,
    pub bytes: Vec<u8>,
}

impl From<LogOutput> for Printed {
    fn from(output: LogOutput) -> Printed {
        Printed { err: matches!(output, LogOutput::StdErr { .. }), bytes: output.into_bytes().to_vec() }
    }
}

fn last(lines: usize) -> LogsOptions {
    LogsOptionsBuilder::default().stdout(true).stderr(true).tail(&lines.to_string()).build()
}

impl Swarm {
    /// The last lines of a container, both streams as they came, in text that has no control characters.
    pub async fn container_lines(&self, container: &str, most: usize) -> Result<Vec<String>, SwarmFault> {
        let pieces = self.docker.logs(container, Some(last(most)));
        lines_of(format!("read the log of {container}"), pieces, most).await
    }

    /// The last lines of all tasks of a service that Swarm still remembers.
    pub async fn service_lines(&self, service: &str, most: usize) -> Result<Vec<String>, SwarmFault> {
        let pieces = self.docker.service_logs(service, Some(last(most)));
        lines_of(format!("read the log of {service}"), pieces, most).await
    }

    /// What a service prints from now on, until it is removed or the stream is dropped.
    pub fn follow(&self, service: &str) -> impl Stream<Item = Result<Printed, SwarmFault>> + Send + use<> {
        let options = LogsOptionsBuilder::default().stdout(true).stderr(true).follow(true).tail("0").build();
        let what = format!("follow the log of {service}");
        self.docker
            .service_logs(service, Some(options))
            .map(move |piece| piece.map(Printed::from).map_err(|error| SwarmFault::new(what.clone(), error)))
    }
}

async fn lines_of(
    what: String,
    pieces: impl Stream<Item = Result<LogOutput, bollard::errors::Error>>,
    most: usize,
) -> Result<Vec<String>, SwarmFault> {
    let mut pieces = std::pin::pin!(pieces);
    let mut lines = Lines::new(most);
    let reading = async {
        while let Some(piece) = pieces.next().await {
            let printed = Printed::from(piece.map_err(|error| SwarmFault::new(what.clone(), error))?);
            lines.push(&printed);
        }
        Ok(())
    };
    match tokio::time::timeout(READ, reading).await {
        Ok(Ok(())) => Ok(lines.finish()),
        Ok(Err(fault)) => Err(fault),
        Err(_) => Err(SwarmFault { what, why: Why::Deadline(READ) }),
    }
}

/// Puts pieces of two streams together to lines and keeps the last ones.
#[derive(Debug)]
struct Lines {
    most: usize,
    kept: std::collections::VecDeque<String>,
    open: [Vec<u8>; 2],
}

impl Lines {
    fn new(most: usize) -> Lines {
        Lines { most, kept: std::collections::VecDeque::new(), open: [Vec::new(), Vec::new()] }
    }

    fn push(&mut self, printed: &Printed) {
        for part in printed.bytes.split_inclusive(|byte| *byte == b'\n') {
            let open = &mut self.open[usize::from(printed.err)];
            let room = LINE.saturating_sub(open.len());
            open.extend_from_slice(&part[..part.len().min(room)]);
            if part.ends_with(b"\n") {
                let line = std::mem::take(open);
                self.keep(&line);
            }
        }
    }

    fn keep(&mut self, line: &[u8]) {
        if self.kept.len() == self.most {
            self.kept.pop_front();
        }
        if self.most > 0 {
            self.kept.push_back(plain(line));
        }
    }

    fn finish(mut self) -> Vec<String> {
        for open in std::mem::take(&mut self.open) {
            if !open.is_empty() {
                self.keep(&open);
            }
        }
        self.kept.into()
    }
}

/// Text for people: no escape sequences, no control characters, nothing that is not UTF-8.
pub(super) fn plain(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut out = String::with_capacity(text.len());
    let mut rest = text.trim_end().chars().peekable();
    while let Some(character) = rest.next() {
        if character == '\u{1b}' && rest.peek() == Some(&'[') {
            rest.next();
            // A sequence ends with the first of @ to ~.
            while rest.next().is_some_and(|inner| !('@'..='~').contains(&inner)) {}
        } else if character == '\t' {
            out.push_str("    ");
        } else if !character.is_control() {
            out.push(character);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole_though_they_come_in_pieces_of_two_streams() {
        let mut lines = Lines::new(3);
        for (err, text) in
            [(false, "zero\none\ntw"), (true, "\u{1b}[31merror\u{1b}[0m\n"), (false, "o\r\nthr"), (false, "ee")]
        {
            lines.push(&Printed { err, bytes: text.into() });
        }
        assert_eq!(lines.finish(), ["error", "two", "three"]);
    }

    #[test]
    fn a_line_without_end_takes_no_more_than_its_share_of_memory() {
        let mut lines = Lines::new(2);
        for _ in 0..100 {
            lines.push(&Printed { err: false, bytes: vec![b'x'; 1000] });
        }
        assert_eq!(lines.finish()[0].len(), LINE);
    }
}

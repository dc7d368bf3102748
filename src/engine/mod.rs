//! Takes runs from the queue to their verdict.
pub mod ledger;
pub mod run;
pub mod scheduler;
pub mod watchdog;

/// An error with its causes, in one line.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

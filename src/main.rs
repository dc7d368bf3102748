//! Parses the command line and hands over; everything else is the library's.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next() {
        // These are spawned often and want nothing of what the others set up.
        Some(word) if word == "warden" => cc_ci::sandbox::warden_main(arguments.collect()),
        Some(word) if word == "abra" => cc_ci::abra::embedded::main(arguments.collect()),
        Some(word) if word == cc_ci::backup::bot::WORD => cc_ci::backup::bot::main(arguments.collect()),
        Some(word) if word == cc_ci::script::child::WORD => cc_ci::script::child::main(arguments.collect()),
        Some(word) if word == cc_ci::probe::browser::WORD => cc_ci::probe::browser::main(arguments.collect()),
        _ => cc_ci::cli::main(),
    }
}

//! Parses the command line and hands over; everything else is the library's.

use std::process::ExitCode;

use cc_ci::{probe, sandbox, script};

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    match args.next() {
        Some(word) if word == "warden" => sandbox::warden_main(args.collect()),
        Some(word) if word == script::child::WORD => script::child::main(args.collect()),
        Some(word) if word == probe::browser::WORD => probe::browser::main(args.collect()),
        _ => ExitCode::SUCCESS,
    }
}

//! Parses the command line and hands over; everything else is the library's.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next() {
        Some(word) if word == "warden" => cc_ci::sandbox::warden_main(arguments.collect()),
        Some(word) if word == "dev" => cc_ci::forge::dev::main(arguments.skip(1).collect()),
        _ => ExitCode::from(2),
    }
}

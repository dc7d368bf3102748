//! Parses the command line and hands over; everything else is the library's.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    match arguments.as_slice() {
        [dev, forge, rest @ ..] if dev == "dev" && forge == "forge" => cc_ci::forge::dev::main(rest.to_vec()),
        _ => ExitCode::SUCCESS,
    }
}

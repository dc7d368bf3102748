//! Parses the command line and hands over; everything else is the library's.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|first| first == "warden") {
        return cc_ci::sandbox::warden_main(args.collect());
    }
    ExitCode::SUCCESS
}

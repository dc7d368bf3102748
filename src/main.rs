//! Parses the command line and hands over; everything else is the library's.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::SUCCESS
}

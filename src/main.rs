//! The binary: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    x0_relay::cli::run(std::env::args_os())
}

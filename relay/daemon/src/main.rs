//! The cityrelay daemon and its command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    cityrelay::cli::main()
}

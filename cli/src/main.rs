//! `assay`: the command.

use std::process::ExitCode;

fn main() -> ExitCode {
    assay_cli::main()
}

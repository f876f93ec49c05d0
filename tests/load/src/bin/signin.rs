//! What signing in costs, and what guessing comes to.

use std::process::ExitCode;

fn main() -> anyhow::Result<ExitCode> {
    load::signin::main(std::env::args_os())
}

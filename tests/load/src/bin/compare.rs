//! Reference and node in turn, and the table of ratios. It starts itself again as `compare raw` and
//! `compare loadgen`, so that this one program is all that has to be built.

use std::process::ExitCode;

fn main() -> anyhow::Result<ExitCode> {
    let mut args: Vec<_> = std::env::args_os().collect();
    match args.get(1).and_then(|first| first.to_str()) {
        Some("raw") => load::raw::main(args.drain(1..))?,
        Some("loadgen") => load::generator::main(args.drain(1..))?,
        _ => return load::compare::main(args),
    }
    Ok(ExitCode::SUCCESS)
}

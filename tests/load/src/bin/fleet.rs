//! Two nodes against one, joined by Redis on PostgreSQL, and the table of ratios. It starts itself again as
//! `fleet loadgen`.

use std::process::ExitCode;

fn main() -> anyhow::Result<ExitCode> {
    let mut args: Vec<_> = std::env::args_os().collect();
    match args.get(1).and_then(|first| first.to_str()) {
        Some("loadgen") => load::generator::main(args.drain(1..))?,
        _ => return load::fleet::main(args),
    }
    Ok(ExitCode::SUCCESS)
}

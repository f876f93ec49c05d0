//! The reference server by itself: `raw --addr 127.0.0.1:9000 [--db FILE]`.

fn main() -> anyhow::Result<()> {
    load::raw::main(std::env::args_os())
}

//! The load generator by itself: `loadgen fanout --addr 127.0.0.1:9000`.

fn main() -> anyhow::Result<()> {
    load::generator::main(std::env::args_os())
}

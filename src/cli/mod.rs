//! The command line: what the program is told, and what it tells the user.

mod bar;
mod bench;
mod data;
mod demo;
mod evaluate;
mod export;
mod finetune;
mod graph;
mod ladder;
mod presets;
mod pretrain;
mod probe;
mod replay;
mod settings;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use intertwine_flow::Told;

/// From unlabelled pictures to an object detector on a small device.
#[derive(Parser)]
#[command(
    version,
    about,
    after_help = "Start here:\n  intertwine demo          the whole way on drawn pictures, in about ten minutes\n  pack-dataset --help      pack your own pictures"
)]
struct Cli {
    /// Threads to compute with; all cores by default. Results do not depend on it.
    #[arg(long, global = true, value_name = "N")]
    threads: Option<usize>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Demo(demo::Args),
    Pretrain(pretrain::Args),
    Finetune(finetune::Args),
    Evaluate(evaluate::Args),
    Export(export::Args),
    Bench(bench::Args),
    Graph(graph::Args),
    Probe(probe::Args),
    Replay(replay::Args),
    Ladder(ladder::Args),
    Presets(presets::Args),
}

/// Runs the program.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Err(e) = intertwine_kernels::cpu::checked_path() {
        eprintln!("error: {e}");
        return ExitCode::FAILURE;
    }
    intertwine_kernels::buffers::keep_freed_memory();
    let mut pool = rayon::ThreadPoolBuilder::new().thread_name(|i| format!("worker {i}"));
    if let Some(threads) = cli.threads {
        pool = pool.num_threads(threads);
    }
    let pool = match pool.build() {
        Ok(pool) => pool,
        Err(e) => {
            eprintln!("error: cannot start threads: {e}");
            return ExitCode::FAILURE;
        }
    };
    // Inside the pool: kernels and data stages share its threads.
    let result = pool.install(|| match cli.command {
        Command::Demo(args) => demo::run(args),
        Command::Pretrain(args) => pretrain::run(args),
        Command::Finetune(args) => finetune::run(args),
        Command::Evaluate(args) => evaluate::run(args),
        Command::Export(args) => export::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Graph(args) => graph::run(args),
        Command::Probe(args) => probe::run(args),
        Command::Replay(args) => replay::run(args),
        Command::Ladder(args) => ladder::run(args),
        Command::Presets(args) => presets::run(args),
    });
    match result {
        Ok(code) => code,
        Err(e) => {
            eprintln!("error: {}", Told(&*e));
            ExitCode::FAILURE
        }
    }
}

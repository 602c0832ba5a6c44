//! `detect`: runs an exported detector on pictures.

mod program;

use std::process::ExitCode;

use clap::Parser;
use program::{bench, run, watch};

/// Find things in pictures with an exported model.
#[derive(Parser)]
#[command(
    name = "detect",
    version,
    about,
    args_conflicts_with_subcommands = true
)]
#[command(subcommand_negates_reqs = true, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: Option<run::Args>,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Measure how long a model takes on this machine.
    Bench(bench::Args),
    /// Look at frames that never end: a folder being written to, a camera's stream, a pipe.
    #[command(after_help = watch::AFTER_HELP)]
    Watch(Box<watch::Args>),
}

const AFTER_HELP: &str = "\
Exit status: 0 if every picture was done, 1 if a picture or the model could not be used, 2 for wrong usage.

A folder called like a subcommand is given as ./bench.";

fn main() -> ExitCode {
    sigpipe::reset();
    let cli = Cli::parse();
    let result = match (cli.command, cli.run) {
        (Some(Command::Bench(args)), _) => bench::bench(&args),
        (Some(Command::Watch(args)), _) => watch::watch(*args),
        (None, Some(args)) => run::run(args),
        (None, None) => unreachable!("clap asks for the model and a path"),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

//! `detect`: runs an exported detector on pictures.

mod program;

use std::process::ExitCode;

use clap::Parser;
use intertwine_flow::Told;
#[cfg(feature = "serve")]
use program::serve;
use program::{bench, complain, run, watch, EngineArgs};

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
    #[command(flatten)]
    engine: EngineArgs,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Measure how long a model takes on this machine.
    Bench(bench::Args),
    /// Look at frames that never end: a camera, a video, a folder being written to, a pipe.
    #[command(after_help = watch::AFTER_HELP)]
    Watch(Box<watch::Args>),
    /// Serve a model over HTTP, with a page to try it on.
    #[cfg(feature = "serve")]
    Serve(serve::Args),
}

impl Cli {
    /// Whether the program ends when nobody reads its output any more. What never ends does; else there are files to be
    /// written, a server whose clients hang up, or a peer that may be gone.
    fn ends_with_its_reader(&self) -> bool {
        matches!(self.command, Some(Command::Watch(_)))
    }
}

const AFTER_HELP: &str = "\
Exit status: 0 if every picture was done, 1 if a picture or the model could not be used, 2 for wrong usage, 130 if it was
stopped.

Ctrl-C or SIGTERM stops it after the pictures in work; what was found until then is in the --json file. A second one stops
it at once.

A folder called like a subcommand is given as ./bench.";

fn main() -> ExitCode {
    let cli = Cli::parse();
    if cli.ends_with_its_reader() {
        sigpipe::reset();
    }
    let result = match (cli.command, cli.run) {
        (Some(Command::Bench(args)), _) => bench::bench(&args),
        (Some(Command::Watch(args)), _) => watch::watch(*args),
        #[cfg(feature = "serve")]
        (Some(Command::Serve(args)), _) => serve::serve(&args),
        (None, Some(args)) => run::run(args, cli.engine.into()),
        (None, None) => unreachable!("clap asks for the model and a path"),
    };
    result.unwrap_or_else(|error| {
        complain(format_args!("error: {}", Told(&*error)));
        ExitCode::FAILURE
    })
}

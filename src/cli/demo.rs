//! `intertwine demo`.

use std::path::PathBuf;
use std::process::ExitCode;

pub fn run(args: Args) -> anyhow::Result<ExitCode> { let _ = (args.out, args.minutes); Ok(ExitCode::SUCCESS) }
/// The whole way on drawn pictures.
#[derive(clap::Args)]
pub struct Args {
    /// Where everything goes.
    #[arg(long, default_value = "demo")]
    out: PathBuf,
    /// About how long the training may take.
    #[arg(long)]
    minutes: Option<f64>,
}

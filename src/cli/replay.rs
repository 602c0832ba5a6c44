//! `intertwine replay`.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::pretrain::replay::{replay, Kind, Seen};

/// Take the step again at which a pretraining stopped because something was not finite, and say where that began.
///
/// Such a run keeps the state before the step and the step's batch in RUN/failed. Tensors are listed in the order in
/// which they are computed.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  intertwine replay runs/first")]
pub struct Args {
    /// The run.
    #[arg(value_name = "RUN")]
    run: PathBuf,
}

/// Of weights, averages and gradients, so many that are not finite are listed.
const LISTED: usize = 10;

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut seen = Vec::new();
    let outcome = replay(&args.run, &mut |tensor| seen.push(tensor))?;
    for group in seen.chunk_by(|a, b| a.kind == b.kind) {
        print_group(group);
    }
    let first = seen.iter().find_map(|tensor| Some((tensor, tensor.first?)));
    if let Some((tensor, (place, value))) = first {
        println!(
            "the first that is not finite: value {place} of {}, {value}",
            tensor.name
        );
    }
    match outcome.failure {
        Some(what) => println!("step {} again: {what} is not finite", outcome.step),
        None => println!("step {} again: all is finite here", outcome.step),
    }
    Ok(ExitCode::SUCCESS)
}

/// Tensors of one kind: what layers and losses give one by one, of the many others those that are not finite.
fn print_group(group: &[Seen]) {
    let kind = group[0].kind;
    let each = matches!(kind, Kind::Activation | Kind::Loss);
    let name = match kind {
        Kind::Weight => "weights",
        Kind::Average => "averages of the optimiser",
        Kind::Activation => "activations",
        Kind::Loss => "losses",
        Kind::Gradient => "gradients",
    };
    let bad = group.iter().filter(|tensor| tensor.not_finite > 0).count();
    println!("{name}: {} tensors, {bad} of them not finite", group.len());
    let listed = group.iter().filter(|tensor| each || tensor.not_finite > 0);
    for tensor in listed.take(if each { group.len() } else { LISTED }) {
        let what = match tensor.first {
            None => format!("at most {:.4e}", tensor.largest),
            Some((_, value)) if tensor.not_finite == tensor.values => {
                format!("none of {} values finite, the first {value}", tensor.values)
            }
            Some((place, value)) => format!(
                "{} of {} values not finite, the first at {place}: {value}; others at most {:.4e}",
                tensor.not_finite, tensor.values, tensor.largest
            ),
        };
        println!("  {:<44}{what}", tensor.name);
    }
    if !each {
        if bad > LISTED {
            println!("  and {} more", bad - LISTED);
        }
        let most = group.iter().max_by(|a, b| a.largest.total_cmp(&b.largest));
        if let Some(most) = most.filter(|most| most.largest > 0.0) {
            println!(
                "  the largest value is {:.4e}, in {}",
                most.largest, most.name
            );
        }
    }
}

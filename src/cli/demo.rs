//! `intertwine demo`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use super::bar::Bar;
use crate::demo::{demo, DemoOptions, DemoOutcome, FULL_MINUTES};
use crate::run::Interrupt;

/// The whole way on drawn pictures: draw, pack, pretrain, fine-tune, evaluate, export, detect, report.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  intertwine demo --out demo        writes demo/report.html; run again to go on after Ctrl-C"
)]
pub struct Args {
    /// Where everything goes.
    #[arg(long, default_value = "demo")]
    out: PathBuf,
    /// About how long the training takes on two cores; less time, less learnt.
    #[arg(long, default_value_t = FULL_MINUTES)]
    minutes: f64,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(
        args.minutes > 0.0 && args.minutes.is_finite(),
        "--minutes {}: expected more than 0",
        args.minutes
    );
    let interrupt = Interrupt::listen();
    let start = Instant::now();
    let mut current: Option<(String, Bar)> = None;
    let mut say = |stage: &str, done: u64, total: u64, remark: &str| {
        let same = matches!(&current, Some((name, _)) if name == stage);
        if !same {
            if let Some((_, old)) = current.take() {
                old.abandon();
            }
            current = Some((stage.to_owned(), Bar::new(stage, total)));
        }
        if let Some((_, bar)) = &mut current {
            bar.advance(done, remark.to_owned());
        }
    };
    let outcome = demo(
        &DemoOptions {
            out: args.out.clone(),
            minutes: args.minutes,
        },
        &interrupt,
        &mut say,
    )?;
    if let Some((_, bar)) = current {
        bar.abandon();
    }
    match outcome {
        DemoOutcome::Finished { metrics: m, report } => {
            println!(
                "box AP {:.3} (from scratch {:.3}), AP50 {:.3}, mask AP {:.3}",
                m.ap, m.ap_scratch, m.ap50, m.mask_ap
            );
            println!(
                "{:.1} ms a picture on one CPU; export differs from training by {:.1e}; {:.0} s in all",
                m.detect_ms,
                m.export_max_abs_diff,
                start.elapsed().as_secs_f64()
            );
            println!("report: {}", report.display());
            println!("next: pack your own pictures; see pack-dataset --help");
            Ok(ExitCode::SUCCESS)
        }
        DemoOutcome::Interrupted => {
            eprintln!("stopped; the same command goes on from here");
            Ok(ExitCode::from(130))
        }
    }
}

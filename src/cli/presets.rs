//! `intertwine presets`.

use std::process::ExitCode;

use clap::ValueEnum;

use crate::config::Presets;
use crate::{finetune, pretrain};

/// List the presets, or print one: every setting there is, and what it does.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  intertwine presets\n  intertwine presets tiny > mine.toml    # a start for --config mine.toml\n  intertwine presets pico --stage finetune"
)]
pub struct Args {
    /// The preset to print.
    name: Option<String>,
    /// Of which stage.
    #[arg(long, value_enum, default_value_t)]
    stage: Stage,
}

#[derive(Clone, Copy, Default, ValueEnum)]
enum Stage {
    #[default]
    Pretrain,
    Finetune,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let presets = match args.stage {
        Stage::Pretrain => pretrain::config::PRESETS,
        Stage::Finetune => finetune::config::PRESETS,
    };
    match args.name {
        Some(name) => print!("{}", presets.text(&name)?),
        None => {
            println!("pretraining:\n{}", list(pretrain::config::PRESETS));
            println!("fine-tuning:\n{}", list(finetune::config::PRESETS));
            println!(
                "next: intertwine presets NAME [--stage finetune] prints one with all its settings"
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Names, each with the sentence its text begins with.
fn list(presets: Presets) -> String {
    let line = |&(name, text): &(&str, &str)| format!("  {name:14} {}\n", about(text));
    let mut all: String = presets.complete.iter().map(line).collect();
    if !presets.variants.is_empty() {
        all += "each of them also without a part of the method, as in pico-dino:\n";
        all.extend(presets.variants.iter().map(line));
    }
    all
}

/// The comment at the head of a preset, as one line, to its first full stop.
fn about(text: &str) -> String {
    let comment: Vec<&str> = text
        .lines()
        .map_while(|line| line.strip_prefix("# "))
        .collect();
    let comment = comment.join(" ");
    match comment.split_once(". ") {
        Some((first, _)) => first.to_owned(),
        None => comment.trim_end_matches('.').to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_says_what_it_is_for() {
        for presets in [pretrain::config::PRESETS, finetune::config::PRESETS] {
            for (name, text) in presets.complete.iter().chain(presets.variants) {
                assert!(about(text).len() > 20, "{name}: {}", about(text));
            }
            for name in presets.names() {
                let text = presets.text(&name).unwrap();
                text.parse::<toml::Table>().unwrap();
            }
        }
        assert!(
            list(pretrain::config::PRESETS).contains("  tiny           ViT-Tiny/16 on photographs")
        );
    }
}

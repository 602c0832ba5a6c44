//! What came out of a ladder, read from its folder.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use super::{Labels, Plan};

/// Where the runs of a ladder lie.
#[derive(Clone, Copy, Debug)]
pub(super) struct Folder<'a>(pub &'a Path);

impl Folder<'_> {
    pub fn sweep(self, rung: &str, candidate: usize) -> PathBuf {
        self.0.join("sweep").join(format!("{rung}-{candidate}"))
    }
    pub fn pretraining(self, rung: &str, seed: u64) -> PathBuf {
        self.0.join("pretrain").join(format!("{rung}-s{seed}"))
    }
    pub fn finetuning(self, rung: &str, labels: Labels, seed: u64) -> PathBuf {
        // With the passes: as many over the same pictures are another run.
        let name = format!("{rung}-{}x{}-s{seed}", labels.percent(), labels.epochs);
        self.0.join("finetune").join(name)
    }
    /// Why a run came to nothing: written instead of its figures.
    pub fn failure(run: &Path) -> PathBuf {
        run.join("failure.txt")
    }
    /// Written last into a run of the ladder.
    pub fn probe(run: &Path) -> PathBuf {
        run.join("probe.json")
    }
    /// Written last into a fine-tuning of the ladder.
    pub fn evaluation(run: &Path) -> PathBuf {
        run.join("evaluation.json")
    }
}

/// A figure of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Kind {
    /// What it is, as the table's head says it.
    pub name: String,
    /// Whether it is a share that is told in percent.
    pub percent: bool,
    /// Decimals that it is told with.
    pub digits: usize,
}

/// The figures of a rung: for each kind, those of the seeds that are done.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rung {
    /// Its name.
    pub name: String,
    /// The settings it has chosen from those that were tried.
    pub settings: Vec<String>,
    /// For each kind, seed and figure.
    pub figures: Vec<Vec<(u64, f64)>>,
    /// What came to nothing, and why.
    pub failures: Vec<Failure>,
}

/// A run that came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// Its seed.
    pub seed: u64,
    /// The share of the labels it was fine-tuned with, as the table's heads say it; none of a pretraining.
    pub labels: Option<String>,
    /// Why.
    pub why: String,
}

/// All figures of a ladder.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Results {
    /// What is measured.
    pub kinds: Vec<Kind>,
    /// Seeds of the plan.
    pub seeds: usize,
    /// In the plan's order.
    pub rungs: Vec<Rung>,
}

/// Mean and standard deviation (of a sample: by n - 1); no deviation of a single value, nothing of none.
pub fn mean_and_deviation(values: &[f64]) -> Option<(f64, Option<f64>)> {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    match values.len() {
        0 => None,
        1 => Some((mean, None)),
        _ => Some((mean, Some((squares / (n - 1.0)).sqrt()))),
    }
}

/// Figures of an `evaluation.json`: name, pointer.
const SCORES: &[(&str, &str)] = &[
    ("AP", "/stats/0"),
    ("AP50", "/stats/1"),
    ("mask AP", "/stats_segm/0"),
];

/// Figures of a `probe.json`: name, pointer, whether in percent, decimals.
const PROBES: &[(&str, &str, bool, usize)] = &[
    ("k-NN", "/knn", true, 1),
    ("linear", "/linear", true, 1),
    ("rank", "/rank_cls", false, 1),
    ("position R², masked", "/position_masked", false, 3),
];

impl Results {
    /// Reads what is finished; `chosen` are the settings of each rung, in the plan's order.
    pub fn read(folder: &Path, plan: &Plan, chosen: &[&[String]]) -> Self {
        let at = Folder(folder);
        let mut kinds = Vec::new();
        let mut figures: Vec<Vec<Vec<(u64, f64)>>> = vec![Vec::new(); plan.rungs.len()];
        let mut add = |kind: Kind, pointer: &str, file: &dyn Fn(&str, u64) -> PathBuf| {
            let of_rung = |rung: &String| -> Vec<(u64, f64)> {
                (0..plan.seeds)
                    .filter_map(|seed| Some((seed, figure(&file(rung, seed), pointer)?)))
                    .collect()
            };
            let all: Vec<_> = plan.rungs.iter().map(of_rung).collect();
            // No column for what no run has, such as masks.
            if all.iter().any(|figures| !figures.is_empty()) {
                kinds.push(kind);
                for (rung, new) in figures.iter_mut().zip(all) {
                    rung.push(new);
                }
            }
        };
        for &labels in &plan.labels {
            let file = |rung: &str, seed| Folder::evaluation(&at.finetuning(rung, labels, seed));
            for (name, pointer) in SCORES {
                let kind = Kind {
                    name: format!("{name}, {}", plan.heading(labels)),
                    percent: true,
                    digits: 1,
                };
                add(kind, pointer, &file);
            }
        }
        let file = |rung: &str, seed| Folder::probe(&at.pretraining(rung, seed));
        for &(name, pointer, percent, digits) in PROBES {
            let kind = Kind {
                name: name.to_owned(),
                percent,
                digits,
            };
            add(kind, pointer, &file);
        }
        let rungs = plan.rungs.iter().zip(figures).enumerate();
        let rungs = rungs.map(|(i, (name, figures))| Rung {
            name: name.clone(),
            settings: chosen
                .get(i)
                .map_or(Vec::new(), |settings| settings.to_vec()),
            figures,
            failures: (0..plan.seeds)
                .flat_map(|seed| failures(at, plan, name, seed))
                .collect(),
        });
        Self {
            kinds,
            seeds: plan.seeds as usize,
            rungs: rungs.collect(),
        }
    }

    /// The differences of a rung to another, seed by seed, of a kind.
    pub fn differences(&self, kind: usize, rung: &Rung, other: &Rung) -> Vec<f64> {
        let others = &other.figures[kind];
        rung.figures[kind]
            .iter()
            .filter_map(|(seed, value)| {
                let (_, other) = others.iter().find(|(s, _)| s == seed)?;
                Some(value - other)
            })
            .collect()
    }
}

/// What came to nothing of a rung with a seed.
fn failures(at: Folder<'_>, plan: &Plan, rung: &str, seed: u64) -> Vec<Failure> {
    let failure = |run: &Path, labels| {
        let why = std::fs::read_to_string(Folder::failure(run)).ok()?;
        Some(Failure { seed, labels, why })
    };
    let tunings = plan.labels.iter().map(|labels| {
        let run = at.finetuning(rung, *labels, seed);
        failure(&run, Some(plan.heading(*labels)))
    });
    std::iter::once(failure(&at.pretraining(rung, seed), None))
        .chain(tunings)
        .flatten()
        .collect()
}

/// A number of a JSON file, if the file is there and has it; -1 stands for none, as in COCO's figures.
fn figure(path: &Path, pointer: &str) -> Option<f64> {
    let json: Value = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    json.pointer(pointer)?.as_f64().filter(|v| *v != -1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_is_that_of_a_sample() {
        assert_eq!(mean_and_deviation(&[]), None);
        assert_eq!(mean_and_deviation(&[3.0]), Some((3.0, None)));
        // (1, 2, 6): mean 3, squares 4 + 1 + 9, over 2: 7.
        let (mean, deviation) = mean_and_deviation(&[1.0, 2.0, 6.0]).unwrap();
        assert_eq!((mean, deviation), (3.0, Some(7f64.sqrt())));
    }

    #[test]
    fn differences_are_of_the_same_seed() {
        let rung = |name: &str, figures: &[(u64, f64)]| Rung {
            name: name.into(),
            settings: Vec::new(),
            figures: vec![figures.to_vec()],
            failures: Vec::new(),
        };
        let results = Results {
            kinds: vec![],
            seeds: 3,
            rungs: vec![],
        };
        let (a, b) = (
            rung("a", &[(0, 5.0), (2, 7.0)]),
            rung("b", &[(1, 1.0), (2, 4.0)]),
        );
        assert_eq!(results.differences(0, &a, &b), [3.0]);
    }
}

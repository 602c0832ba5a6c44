//! What an encoder has learnt, measured without training one (METHOD section 7): after a run, or while it learns.
//!
//! # Layout
//! - [`encoder`]: any encoder, from a file or from memory; [`features`]: rows of what it gives
//! - [`knn`], [`regression`]: classes and positions read off features
//! - [`rank`]: how many dimensions they use; [`shortcut`]: whether they tell the window instead of the picture
//! - [`drawing`]: a few pictures as the encoder sees them
//! - `gather`: the passes through the encoder; [`npy`], [`parquet`]: features as files for NumPy and for data frames

pub mod drawing;
pub mod encoder;
pub mod features;
mod gather;
pub mod knn;
pub mod npy;
pub mod parquet;
pub mod rank;
pub mod regression;
pub mod shortcut;

use std::path::PathBuf;

use intertwine_datasets::{DatasetError, Mix, Permutation};

use crate::config::ConfigError;
use crate::nn::weights::WeightsError;
use encoder::Encoder;
use features::Rows;
use gather::Gatherer;
use regression::Linear;
use shortcut::Shortcut;

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// There is no such network.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The weights cannot be read or do not fit.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The pictures cannot be read.
    #[error(transparent)]
    Data(#[from] DatasetError),
    /// A file of weights that is no encoder we know.
    #[error("{}: {what}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The encoder cannot see pictures so.
    #[error("pictures of {side} pixels are {patches} patches of {patch} a side, the encoder knows positions of {grid} only; use --side {}", grid * patch)]
    Side {
        /// Pixels.
        side: usize,
        /// Whole patches in it.
        patches: usize,
        /// Pixels of a patch.
        patch: usize,
        /// Patches that it needs.
        grid: usize,
    },
    /// Too few pictures to say anything.
    #[error("{0} pictures are too few, expected at least {LEAST_PICTURES}: name a larger set, or look at more of it")]
    TooFew(usize),
    /// A set that was to have classes.
    #[error("{}: no picture there has a class and no object a category; name a labelled set", path.display())]
    NoClasses {
        /// The set.
        path: PathBuf,
    },
    /// An encoder of which nothing can be measured.
    #[error("the encoder's tokens of picture {record} are not finite: its weights are damaged, or its training diverged")]
    NotFinite {
        /// The first such picture's record.
        record: usize,
    },
}

/// A set of fewer pictures is not measured on.
pub const LEAST_PICTURES: usize = 8;

/// How to look at an encoder.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Pictures to look at, drawn from the set if it has more.
    pub pictures: usize,
    /// Pixels a side of what the encoder sees; none for the usual of its patches.
    pub side: Option<usize>,
    /// Side of the centred window of the field in which pictures lie.
    pub window: f64,
    /// Which pictures are drawn, and which of their patches and windows.
    pub seed: u64,
    /// Whether to read classes; without, there are no figures that need them.
    pub classes: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            pictures: 2000,
            side: None,
            window: 0.35,
            seed: 0,
            classes: true,
        }
    }
}

/// What an encoder has learnt.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Figures {
    /// Pictures looked at.
    pub pictures: usize,
    /// Pixels a side.
    pub side: usize,
    /// Of them, those with a class.
    pub with_class: usize,
    /// Classes.
    pub classes: usize,
    /// Share of the pictures whose class their 20 nearest neighbours by CLS give.
    pub knn: Option<f64>,
    /// The same of the mean of the patches.
    pub knn_patches: Option<f64>,
    /// Share of every second picture whose class a linear fit to the CLS of the others gives.
    pub linear: Option<f64>,
    /// RankMe of CLS, of at most the width.
    pub rank_cls: f64,
    /// RankMe of patches.
    pub rank_patches: f64,
    /// R^2 of a linear fit of a patch's place in the picture to its feature.
    pub position_visible: f64,
    /// The same of patches whose own position was masked; none for an encoder that has no token for that.
    pub position_masked: Option<f64>,
    /// Whether CLS tells the window; only for an encoder with a field.
    pub shortcut: Option<Shortcut>,
}

/// The features that the figures are of.
#[derive(Clone, Debug)]
pub struct Embeddings {
    /// Record of each picture.
    pub records: Vec<usize>,
    /// CLS, a row a picture.
    pub cls: Rows,
    /// Class of each picture, if it has one.
    pub classes: Vec<Option<Class>>,
}

/// The class of a picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Class {
    /// Its number in the set.
    pub number: u32,
    /// Its name, if the set has one.
    pub name: Option<String>,
}

/// Measures an encoder on pictures. A class is that of the picture, or else the category of its largest object; several
/// sets have none in common, so their figures do without. `progress` is told how many of how many passes of a batch
/// through the encoder are done.
///
/// # Errors
/// As [`ProbeError`].
pub fn probe(
    encoder: &Encoder,
    pictures: &Mix,
    options: &Options,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(Figures, Embeddings), ProbeError> {
    let grid = grid(encoder, options)?;
    let records = draw(pictures.len(), options);
    if records.len() < LEAST_PICTURES {
        return Err(ProbeError::TooFew(records.len()));
    }
    let read = options.classes && pictures.sets().len() == 1;
    let class = |&record: &usize| {
        if read {
            class_of(pictures, record)
        } else {
            Ok(None)
        }
    };
    let classes = records.iter().map(class).collect::<Result<Vec<_>, _>>()?;
    let mut gatherer = Gatherer {
        encoder,
        set: pictures,
        grid,
        options,
        progress,
        done: 0,
        total: 0,
    };
    gatherer.total = gatherer.passes(records.len());
    let gathered = gatherer.pictures(&records)?;
    let shortcut = gatherer
        .windows(&records)?
        .map(|(cls, windows)| Shortcut::measure(&cls.normalised(), windows));

    let known: Vec<u32> = classes.iter().flatten().map(|class| class.number).collect();
    let labelled = |rows: &Rows| rows.pick(|row| classes[row].is_some()).normalised();
    let (cls, means) = (labelled(&gathered.cls), labelled(&gathered.means));
    let count = known.iter().max().map_or(0, |&c| c as usize + 1);
    let protocol = knn::Protocol::default();
    let r2 = |features: &Rows| place_r2(features, &gathered.places);
    let figures = Figures {
        pictures: records.len(),
        side: grid * encoder.patch(),
        with_class: known.len(),
        classes: count,
        knn: knn::accuracy(&cls, &known, protocol),
        knn_patches: knn::accuracy(&means, &known, protocol),
        linear: linear_accuracy(&cls, &known, count),
        rank_cls: rank::effective_rank(&gathered.cls),
        rank_patches: rank::effective_rank(&gathered.patches),
        position_visible: r2(&gathered.visible),
        position_masked: (!gathered.masked.is_empty()).then(|| r2(&gathered.masked)),
        shortcut,
    };
    let embeddings = Embeddings {
        records,
        cls: gathered.cls,
        classes,
    };
    Ok((figures, embeddings))
}

/// Patches a side of what the encoder is to see.
///
/// # Errors
/// If it knows no positions of such pictures.
fn grid(encoder: &Encoder, options: &Options) -> Result<usize, ProbeError> {
    let patch = encoder.patch();
    let usual = if patch < 14 { 64 } else { 224 };
    let own = encoder.grid();
    let side = options
        .side
        .unwrap_or_else(|| own.map_or(usual, |grid| grid * patch));
    let patches = (side / patch).max(1);
    match own {
        Some(grid) if grid != patches => Err(ProbeError::Side {
            side,
            patches,
            patch,
            grid,
        }),
        _ => Ok(patches),
    }
}

/// The records that are looked at, in their order.
fn draw(len: usize, options: &Options) -> Vec<usize> {
    if len <= options.pictures {
        return (0..len).collect();
    }
    let order = Permutation::new(len as u64, options.seed, 0, 0);
    let mut records: Vec<usize> = (0..options.pictures as u64)
        .map(|i| order.get(i) as usize)
        .collect();
    records.sort_unstable();
    records
}

fn class_of(pictures: &Mix, record: usize) -> Result<Option<Class>, DatasetError> {
    let (set, record) = pictures.locate(record);
    if let Some(number) = set.label(record)? {
        let name = set.labels().get(number as usize).cloned();
        return Ok(Some(Class { number, name }));
    }
    let instances = set.instances(record)?;
    let largest = instances
        .iter()
        .max_by(|a, b| a.area.total_cmp(&b.area).then(b.id.cmp(&a.id)));
    let class = |number: u32| Class {
        number,
        name: set
            .categories()
            .get(number as usize)
            .map(|c| c.name.clone()),
    };
    Ok(largest.map(|instance| class(instance.category)))
}

/// Fits on the first half of the rows, measures on the second: they are of other pictures.
fn place_r2(features: &Rows, places: &Rows) -> f64 {
    let half = features.len() / 2;
    let (first, second) = (|row: usize| row < half, |row: usize| row >= half);
    let fit = Linear::fit(&features.pick(first), &places.pick(first));
    fit.r2(&features.pick(second), &places.pick(second))
}

fn linear_accuracy(features: &Rows, classes: &[u32], count: usize) -> Option<f64> {
    if classes.len() < 4 {
        return None;
    }
    let one_hot = |class: u32| (0..count as u32).map(move |c| f32::from(u8::from(c == class)));
    // Every other row, mixed: sets are often sorted by class, and the last rows say how much to shrink.
    let half = classes.len().div_ceil(2) as u64;
    let order = Permutation::new(half, 0, 0, 0);
    let (mut x, mut targets) = (Rows::new(features.width(), Vec::new()), Vec::new());
    for row in (0..half).map(|i| 2 * order.get(i) as usize) {
        x.extend(features.row(row));
        targets.extend(one_hot(classes[row]));
    }
    let fit = Linear::fit(&x, &Rows::new(count, targets));
    let test = features.pick(|row| !row.is_multiple_of(2));
    let right = test
        .iter()
        .zip(classes.iter().skip(1).step_by(2))
        .filter(|(row, &class)| {
            let scores = fit.predict(row);
            let best =
                (0..count).fold(0, |best, c| if scores[c] > scores[best] { c } else { best });
            best == class as usize
        });
    Some(right.count() as f64 / test.len() as f64)
}

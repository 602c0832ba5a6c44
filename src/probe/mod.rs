//! What an encoder has learnt, measured without training one (METHOD section 7): after a run, or while it learns.
//!
//! # Layout
//! - [`encoder`]: any encoder, from a file or from memory; [`features`]: rows of what it gives
//! - [`knn`], [`regression`], `readout`: classes and positions read off features; `retrieval`: positions found again
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
mod readout;
pub mod regression;
mod retrieval;
pub mod shortcut;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use intertwine_datasets::{DatasetError, Mix};
use intertwine_flow::random::{stream, ChaCha8Rng, Purpose};
use rand::seq::index::sample;

use crate::augment::{self, check};
use crate::config::ConfigError;
use crate::field::Window;
use crate::nn::weights::WeightsError;
use encoder::Encoder;
use features::Rows;
use gather::Gatherer;
use readout::Halves;
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
    /// A way to look that cannot be.
    #[error(transparent)]
    Value(#[from] augment::ConfigError),
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

/// Where pictures lie if nothing tells, in the middle of what the paper's pretraining sees (METHOD section 1).
const WINDOW: f64 = 0.35;

/// How to look at an encoder.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Pictures to look at, drawn from the set if it has more.
    pub pictures: usize,
    /// Pixels a side of what the encoder sees, whole patches and at least two; none for those it was trained on, where its
    /// file or its positions tell, else for the usual of its patches.
    pub side: Option<usize>,
    /// Side of the centred window of the field in which pictures lie, above 0 and at most 1; none for that in which they
    /// did in its training, if they all did in one, else for 0.35.
    pub window: Option<f64>,
    /// Which pictures are drawn, which of their patches and windows, and which half of them is fitted to.
    pub seed: u64,
    /// Whether to read classes; without, there are no figures that need them.
    pub classes: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            pictures: 2000,
            side: None,
            window: None,
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
    /// Different classes of those.
    pub classes: usize,
    /// Share of the commonest class: what always answering with it would reach.
    pub commonest: Option<f64>,
    /// Share of the pictures whose class their 20 nearest neighbours by CLS give.
    pub knn: Option<f64>,
    /// The same of the mean of the patches.
    pub knn_patches: Option<f64>,
    /// Share of one half of the pictures whose class a linear fit to the CLS of the other half gives.
    pub linear: Option<f64>,
    /// RankMe of CLS, of at most the width.
    pub rank_cls: f64,
    /// RankMe of patches.
    pub rank_patches: f64,
    /// R^2 of a linear fit of a patch's place in the picture to its feature, in one half of the pictures, measured on the
    /// other half; none for an encoder that sees a single patch.
    pub position_visible: Option<f64>,
    /// The same of patches whose own position was masked; none for an encoder that has no token for that.
    pub position_masked: Option<f64>,
    /// Share of the patches with masked position, in one half of the pictures, whose feature is nearest to what all patches
    /// that see their position have in common at that place, in the other half; by chance one in as many as a picture
    /// has. None where [`Self::position_masked`] is.
    pub position_retrieved: Option<f64>,
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
    /// Tells it from the other classes of the set: its place among the labels of whole pictures, or behind them, among
    /// the categories of objects.
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
        window: window(encoder, options)?,
        options,
        progress,
        done: 0,
        total: 0,
    };
    gatherer.total = gatherer.passes(records.len());
    let halves = Halves::draw(records.len(), options.seed);
    let gathered = gatherer.pictures(&records, &halves)?;
    let shortcut = gatherer
        .windows(&records)?
        .map(|(cls, windows)| Shortcut::measure(&cls.normalised(), windows));

    let known: Vec<u32> = classes.iter().flatten().map(|class| class.number).collect();
    let with_class = || (0..classes.len()).filter(|&row| classes[row].is_some());
    let labelled = |rows: &Rows| rows.pick(with_class()).normalised();
    let (cls, means) = (labelled(&gathered.cls), labelled(&gathered.means));
    let (known, count) = dense(&known);
    let protocol = knn::Protocol::default();
    let (pictures, seed) = (records.len(), options.seed);
    let r2 = |features: &Rows| readout::places(features, &gathered.places, &halves);
    let masked = Some(&gathered.masked).filter(|masked| !masked.is_empty());
    let retrieved = |masked: &Rows| {
        let rows: Vec<usize> = halves.second_rows(masked.len() / pictures).collect();
        let at: Vec<usize> = rows.iter().map(|&row| gathered.chosen[row]).collect();
        gathered.common.found(&masked.pick(rows), &at)
    };
    let figures = Figures {
        pictures,
        side: grid * encoder.patch(),
        with_class: known.len(),
        classes: count,
        commonest: commonest(&known, count),
        knn: knn::accuracy(&cls, &known, protocol),
        knn_patches: knn::accuracy(&means, &known, protocol),
        linear: readout::classes(&cls, &known, count, seed),
        rank_cls: rank::effective_rank(&gathered.cls),
        rank_patches: rank::effective_rank(&gathered.patches),
        position_visible: r2(&gathered.visible),
        position_masked: masked.and_then(r2),
        position_retrieved: masked.and_then(retrieved),
        shortcut,
    };
    let embeddings = Embeddings {
        records,
        cls: gathered.cls,
        classes,
    };
    Ok((figures, embeddings))
}

/// The share of the class that most have; none without classes.
fn commonest(classes: &[u32], count: usize) -> Option<f64> {
    let mut of_each = vec![0usize; count];
    classes
        .iter()
        .for_each(|&class| of_each[class as usize] += 1);
    let most = of_each.into_iter().max()?;
    Some(most as f64 / classes.len() as f64)
}

/// Patches a side of what the encoder is to see.
///
/// # Errors
/// If it cannot see pictures so.
fn grid(encoder: &Encoder, options: &Options) -> Result<usize, ProbeError> {
    let patch = encoder.patch();
    let usual = match (encoder.grid(), encoder.usual().side) {
        (Some(grid), _) => grid,
        (None, Some(side)) => side / patch,
        (None, None) => (if patch < 14 { 64 } else { 224 }) / patch,
    };
    let side = options.side.unwrap_or(usual.max(2) * patch);
    // A single patch has only one place to be at.
    check::expect(
        side.is_multiple_of(patch) && side >= 2 * patch,
        "side",
        side,
        format!(
            "a multiple of {patch}, the pixels of a patch, at least {}",
            2 * patch
        ),
    )?;
    Ok(side / patch)
}

/// Where in the field the encoder is to see pictures.
///
/// # Errors
/// If it cannot see pictures so.
fn window(encoder: &Encoder, options: &Options) -> Result<Window, ProbeError> {
    let scale = options.window.or(encoder.usual().window).unwrap_or(WINDOW);
    check::scale("window", scale)?;
    Ok(Window::centred(scale))
}

/// What is drawn. Each has streams of its own for a seed, and none is that of a training's order: the pictures that a run
/// saw first are not those to measure it on.
#[derive(Clone, Copy)]
enum Drawn {
    /// Patches of a picture whose places are read.
    Patches = 0,
    /// Windows in which pictures are shown.
    Windows = 1,
    /// Pictures that are looked at.
    Pictures = 2,
    /// Pictures that are drawn upon a sheet.
    Shelf = 3,
    /// Halves of the pictures.
    Halves = 4,
    /// Pictures whose patches the rank is of.
    Rank = 5,
    /// Pictures that are shown in several windows.
    Shown = 6,
}

impl Drawn {
    fn stream(self, seed: u64, index: u64) -> ChaCha8Rng {
        stream(seed, Purpose::Probe, self as u64, index)
    }

    /// `count` different numbers below `len`, or all there are, in random order.
    fn choose(self, seed: u64, index: u64, count: usize, len: usize) -> Vec<usize> {
        sample(&mut self.stream(seed, index), len, count.min(len)).into_vec()
    }
}

/// The records that are looked at, in their order.
fn draw(len: usize, options: &Options) -> Vec<usize> {
    let mut records = Drawn::Pictures.choose(options.seed, 0, options.pictures, len);
    records.sort_unstable();
    records
}

/// Classes by their place among those there are, and how many these are: a set may name many that it has no picture of.
fn dense(classes: &[u32]) -> (Vec<u32>, usize) {
    let mut different = classes.to_vec();
    different.sort_unstable();
    different.dedup();
    let place = |class: &u32| different.partition_point(|other| other < class) as u32;
    (classes.iter().map(place).collect(), different.len())
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
        .filter(|object| !object.crowd)
        .max_by(|a, b| a.area.total_cmp(&b.area).then(b.id.cmp(&a.id)));
    Ok(largest.map(|object| Class {
        // Behind the labels of whole pictures, which a set may have besides.
        number: set.labels().len() as u32 + object.category,
        name: set
            .categories()
            .get(object.category as usize)
            .map(|c| c.name.clone()),
    }))
}

//! The training loop of a detector.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use dfdx::prelude::*;
use intertwine_datasets::{DatasetError, PackedSet};
use intertwine_detect::{Class, RawOutputs};
use intertwine_flow::FlowError;
use rayon::prelude::*;

use super::assign::{anchors, Anchor, DynamicTopK};
use super::config::FinetuneConfig;
use super::data::{Batch, Batches};
use super::loss::{decode, picture_loss, RawPicture, Sums};
use super::model::{Detector, Outputs};
use crate::config::ConfigError;
use crate::export::{export, DetectorSpec, ExportError, ParityReport, Reference, Weights};
use crate::field::{Geometry, Grid, Taps, Window};
use crate::nn::arch::{self, Arch, WithArch};
use crate::nn::checkpoint::CheckpointError;
use crate::nn::module::Init;
use crate::nn::ops::host_loss::host_loss;
use crate::nn::optim::{decays, layer_scale, Group, Optimizer};
use crate::nn::vit::{DropPath, Positions, Vit, VitConfig};
use crate::nn::weights::{StateDict, WeightsError};
use crate::nn::{Backend, Rows, Scalar};
use crate::pretrain::schedule::learning_rate;
use crate::pretrain::train::fingerprint;
use crate::report;
use crate::run::{Interrupt, RunError, RunFolder};

const FORMAT: &str = "intertwine-finetune-1";

/// A fine-tuning to be done.
#[derive(Clone, Copy)]
pub struct Job<'a> {
    /// Every choice.
    pub config: &'a FinetuneConfig,
    /// The labelled pictures.
    pub data: &'a Arc<PackedSet>,
    /// A pretraining run's folder or a safetensors file; `None` starts from nothing.
    pub init: Option<&'a Path>,
    /// The run folder.
    pub out: &'a Path,
    /// Go on with the run in that folder, if there is one.
    pub resume: bool,
    /// Stops the run after the step at which it is requested.
    pub interrupt: &'a Interrupt,
}

/// The figures of one step.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub struct Losses {
    /// The weighted sum.
    pub loss: f64,
    /// Quality focal loss.
    pub class: f64,
    /// 1 - GIoU.
    pub bbox: f64,
    /// Masks.
    pub mask: f64,
    /// Assigned anchors a picture.
    pub positives: f64,
}

/// What happens, for a progress bar.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Steps done.
    pub step: u64,
    /// Steps in all.
    pub steps: u64,
    /// Figures of the last step.
    pub losses: Losses,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Done; the model is exported.
    Finished {
        /// The exported detector.
        model: PathBuf,
        /// How far tract is from training.
        parity: ParityReport,
        /// Pictures a second over the steps of this call.
        images_per_second: f64,
    },
    /// Asked to stop; the checkpoint is written.
    Interrupted {
        /// Steps done.
        step: u64,
        /// Steps in all.
        steps: u64,
    },
}

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum FinetuneError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    Weights(#[from] WeightsError),
    #[error(transparent)]
    Data(#[from] DatasetError),
    #[error(transparent)]
    Flow(#[from] FlowError),
    #[error(transparent)]
    Export(#[from] ExportError),
    #[error(transparent)]
    Report(#[from] report::ReportError),
    /// Nothing to learn.
    #[error("{}: the set has no categories; pack a labelled set (a COCO JSON, see pack-dataset --help)", path.display())]
    Unlabelled { path: PathBuf },
    /// The loss is no number any more.
    #[error("step {step}: {what} is not finite; the last checkpoint is kept. A lower optim.lr or a longer optim.warmup usually mends this")]
    NotFinite { step: u64, what: &'static str },
}

/// Fine-tunes on the CPU.
///
/// # Errors
/// As [`FinetuneError`].
pub fn finetune(
    job: Job<'_>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Outcome, FinetuneError> {
    finetune_on(&Cpu::default(), job, progress)
}

/// Fine-tunes on a device.
///
/// # Errors
/// As [`finetune`].
pub fn finetune_on<D: Backend>(
    dev: &D,
    job: Job<'_>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Outcome, FinetuneError> {
    struct Run<'a, D: Backend>(
        &'a D,
        Job<'a>,
        Option<StateDict>,
        VitConfig,
        &'a mut dyn FnMut(Progress),
    );
    impl<D: Backend> WithArch for Run<'_, D> {
        type Output = Result<Outcome, FinetuneError>;
        fn run<A: Arch>(self) -> Self::Output {
            train::<A, D>(self.0, self.1, self.2, self.3, self.4)
        }
    }
    let (encoder, model) = match job.init {
        None => (None, job.config.model.clone()),
        Some(path) => {
            let path = if path.is_dir() {
                path.join("model.safetensors")
            } else {
                path.to_owned()
            };
            let dict = StateDict::read(&path)?;
            let model = match dict.metadata.get("model") {
                // Not one of ours: the config must say what it is.
                None => job.config.model.clone(),
                Some(text) => toml::from_str(text).map_err(|e| WeightsError::Format {
                    path: path.clone(),
                    reason: format!("its note `model` cannot be read: {e}"),
                })?,
            };
            (Some(dict), model)
        }
    };
    let name = model.arch.clone();
    arch::dispatch(&name, Run(dev, job, encoder, model, progress)).unwrap_or_else(|| {
        let problem = format!("is `{name}`, expected one of {}", arch::NAMES.join(", "));
        Err(ConfigError::Invalid {
            key: "model.arch".into(),
            problem,
        }
        .into())
    })
}

fn train<A: Arch, D: Backend>(
    dev: &D,
    job: Job<'_>,
    encoder: Option<StateDict>,
    vit_config: VitConfig,
    progress: &mut dyn FnMut(Progress),
) -> Result<Outcome, FinetuneError> {
    let Job {
        config,
        data,
        out,
        resume,
        interrupt,
        ..
    } = job;
    if data.categories().is_empty() {
        return Err(FinetuneError::Unlabelled {
            path: data.folder().to_owned(),
        });
    }
    let masks = (0..data.len().min(64)).any(|i| {
        data.instances(i)
            .is_ok_and(|l| l.iter().any(|o| o.mask.is_some()))
    });
    let spec = config.spec::<A>(&vit_config, data.categories().len(), masks);
    spec.validate()?;
    // With the encoder's own sizes: what is resumed must be what was started.
    let stored = FinetuneConfig {
        model: vit_config.clone(),
        ..config.clone()
    };
    let text = toml::to_string(&stored).expect("a config is plain data");
    let folder = RunFolder::open(out, &text, resume)?;
    let mut init = Init::new(dev, config.seed);
    let mut vit = Vit::<A, D>::new(&mut init, &vit_config);
    if let Some(dict) = &encoder {
        dict.load_module("", &mut vit, |name| {
            name.ends_with("mask_token") || name.starts_with("pos_field")
        })?;
    }
    let positions = EncoderPositions::new(&vit, spec.grid(), config.data.window);
    let mut model = Detector::new(&mut init, vit, &spec);
    let (depth, decay) = (vit_config.depth, config.optim.layer_decay);
    let mut optimizer = Optimizer::new(dev, &model, |name, sizes| Group {
        lr_scale: if is_head(name) {
            1.0
        } else {
            layer_scale(name, depth, decay)
        },
        decay: decays(name, sizes),
    });
    let records = data.len() as u64;
    let (steps, data_id) = (config.steps(records), fingerprint(data));
    let mut step = 0;
    if folder.checkpoint().exists() {
        let (dict, at) = StateDict::read_checkpoint(&folder.checkpoint(), FORMAT, &data_id)?;
        dict.load_module("model", &mut model, |_| false)?;
        dict.load_optimizer(&mut optimizer, &model)?;
        step = at;
    }
    let maps: Vec<(usize, f32)> = spec
        .sides()
        .into_iter()
        .zip(spec.strides().map(|s| s as f32))
        .collect();
    let anchors = anchors(&maps);
    let mut log = folder.log(step)?;
    let mut batches = Batches::new(data, config, &spec, step)?;
    let (first, start) = (step, Instant::now());
    while step < steps {
        let Some(batch) = batches.next_batch().transpose()? else {
            break;
        };
        let lr = learning_rate(
            config.optim.lr,
            config.optim.lr_end,
            config.optim.warmup,
            step,
            steps,
        );
        let drop_path = Some(DropPath {
            seed: config.seed,
            step,
        });
        let count = batch.targets.len();
        let taps = positions.repeat(count);
        let (outputs, tape) = model.forward(
            batch.patches.clone(),
            taps.view(),
            count,
            spec.grid(),
            drop_path,
            OwnedTape::default(),
        );
        let (loss, losses) = batch_loss(&spec, config, &anchors, outputs, tape, &batch);
        if !losses.loss.is_finite() {
            return Err(FinetuneError::NotFinite {
                step,
                what: "the loss",
            });
        }
        let mut gradients = loss.backward();
        let report = optimizer.step(
            &mut model,
            &mut gradients,
            lr,
            config.optim.weight_decay,
            config.optim.clip,
            |_| false,
        );
        if !report.grad_norm.is_finite() {
            return Err(FinetuneError::NotFinite {
                step,
                what: "the gradient",
            });
        }
        let last = step + 1 == steps;
        if step.is_multiple_of(config.run.log_every) || last {
            let seconds = start.elapsed().as_secs_f64();
            let images = (step + 1 - first) as f64 * config.optim.batch as f64;
            let line = Line {
                step,
                losses,
                lr,
                grad_norm: report.grad_norm,
            };
            log.write(&line, &serde_json::json!({"step": step, "seconds": seconds, "images_per_s": images / seconds}))?;
        }
        step += 1;
        progress(Progress {
            step,
            steps,
            losses,
        });
        let stop = interrupt.requested();
        if step.is_multiple_of(config.run.checkpoint_every) || stop || last {
            log.sync()?;
            let mut dict = StateDict::checkpoint(FORMAT, step, &data_id);
            dict.insert_module("model", &model);
            dict.insert_optimizer(&optimizer, &model);
            dict.write(&folder.checkpoint())?;
        }
        if stop && !last {
            return Ok(Outcome::Interrupted { step, steps });
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    let images_per_second = (step - first) as f64 * config.optim.batch as f64 / seconds.max(1e-9);
    let (path, parity) = ship(&model, &spec, &positions, data, &anchors, &folder)?;
    report::run::write(folder.path(), "Fine-tuning", PLOTS)?;
    Ok(Outcome::Finished {
        model: path,
        parity,
        images_per_second,
    })
}

/// The curves of a run's report.
const PLOTS: &[report::run::Curves<'static>] = &[
    (
        "Loss",
        "loss",
        &[
            ("sum", "loss"),
            ("class", "class"),
            ("box", "bbox"),
            ("mask", "mask"),
        ],
    ),
    (
        "Anchors assigned in a picture",
        "anchors",
        &[("positives", "positives")],
    ),
    ("Gradient", "norm", &[("gradient", "grad_norm")]),
    ("Learning rate", "rate", &[("lr", "lr")]),
];

fn is_head(name: &str) -> bool {
    ["fpn.", "head.", "proto."]
        .iter()
        .any(|part| name.starts_with(part))
}

/// A line of `metrics.jsonl`.
#[derive(serde::Serialize)]
struct Line {
    step: u64,
    #[serde(flatten)]
    losses: Losses,
    lr: f32,
    grad_norm: f64,
}

/// The positions of one picture's patches: the whole picture in a centred window of the field.
enum EncoderPositions {
    Field(Taps),
    Fixed(Vec<f32>),
}

impl EncoderPositions {
    fn new<A: Arch, D: Backend>(vit: &Vit<A, D>, grid: usize, window: f64) -> Self {
        let grid = Grid::new(grid, grid);
        match vit.field_side() {
            Some(side) => {
                let whole = Geometry::whole(Window::centred(window)).positions(grid);
                Self::Field(crate::field::taps(whole, Grid::new(side, side)))
            }
            None => {
                let mut values = vec![0.0; grid.len() * A::WIDTH];
                let own = Geometry::whole(Window::WHOLE).positions(grid);
                let cells = (grid.height as f32, grid.width as f32);
                crate::field::sincos::encode(own, cells, A::WIDTH, &mut values);
                Self::Fixed(values)
            }
        }
    }
    fn repeat(&self, pictures: usize) -> Self {
        match self {
            Self::Field(taps) => Self::Field(Taps {
                index: taps.index.repeat(pictures),
                weight: taps.weight.repeat(pictures),
            }),
            Self::Fixed(values) => Self::Fixed(values.repeat(pictures)),
        }
    }
    fn view(&self) -> Positions<'_> {
        match self {
            Self::Field(taps) => Positions::Field(taps),
            Self::Fixed(values) => Positions::Fixed(values),
        }
    }
}

/// The outputs of one picture, gathered from the levels.
struct HostOutputs {
    logits: Vec<f32>,
    distances: Vec<f32>,
    coefficients: Vec<f32>,
    prototypes: Vec<f32>,
}

/// Level tensors `[batch * cells, c]` as one vector a picture.
fn per_picture<D: Backend>(levels: &[Rows<usize, D>], batch: usize) -> Vec<Vec<f32>> {
    let host: Vec<Vec<f32>> = levels.iter().map(D::to_host).collect();
    (0..batch)
        .map(|b| {
            host.iter()
                .flat_map(|l| &l[l.len() / batch * b..l.len() / batch * (b + 1)])
                .copied()
                .collect()
        })
        .collect()
}

/// The inverse: gradients of each picture back to the levels.
fn per_level<D: Backend>(
    levels: &[Rows<usize, D>],
    pictures: &[Vec<f32>],
    scale: f32,
) -> Vec<Vec<f32>> {
    let mut first = 0;
    levels
        .iter()
        .map(|level| {
            let (rows, c) = *level.shape();
            let len = rows * c / pictures.len().max(1);
            let out = pictures
                .iter()
                .flat_map(|p| &p[first..first + len])
                .map(|v| v * scale)
                .collect();
            first += len;
            out
        })
        .collect()
}

fn on_host<D: Backend>(outputs: &Outputs<D>, batch: usize) -> Vec<HostOutputs> {
    let prototypes = match &outputs.prototypes {
        Some(p) => per_picture(std::slice::from_ref(p), batch),
        None => vec![Vec::new(); batch],
    };
    let coefficients = per_picture(&outputs.coefficients, batch);
    let rest = per_picture(&outputs.logits, batch)
        .into_iter()
        .zip(per_picture(&outputs.distances, batch));
    rest.zip(coefficients.into_iter().zip(prototypes))
        .map(
            |((logits, distances), (coefficients, prototypes))| HostOutputs {
                logits,
                distances,
                coefficients,
                prototypes,
            },
        )
        .collect()
}

/// The loss of a batch on the tape, and its figures.
fn batch_loss<D: Backend>(
    spec: &DetectorSpec,
    config: &FinetuneConfig,
    anchors: &[Anchor],
    outputs: Outputs<D>,
    tape: OwnedTape<f32, D>,
    batch: &Batch,
) -> (Scalar<D, OwnedTape<f32, D>>, Losses) {
    let count = batch.targets.len();
    let host = on_host(&outputs, count);
    let weights = &config.loss;
    let results: Vec<_> = host
        .par_iter()
        .zip(&batch.targets)
        .map(|(h, target)| {
            let raw = RawPicture {
                logits: &h.logits,
                distances: &h.distances,
                coefficients: &h.coefficients,
                prototypes: &h.prototypes,
            };
            picture_loss(
                anchors,
                raw,
                target,
                spec.image_size as f32,
                &DynamicTopK::default(),
                weights,
            )
        })
        .collect();
    let mut sums = Sums::default();
    for (s, _) in &results {
        sums.class += s.class;
        sums.bbox += s.bbox;
        sums.mask += s.mask;
        sums.weight += s.weight;
        sums.positives += s.positives;
    }
    let (weight, positives) = (sums.weight.max(1.0), sums.positives.max(1.0));
    let mut losses = Losses {
        loss: 0.0,
        class: sums.class / weight,
        bbox: sums.bbox / weight,
        mask: sums.mask / positives,
        positives: sums.positives / count as f64,
    };
    losses.loss = f64::from(weights.class) * losses.class
        + f64::from(weights.bbox) * losses.bbox
        + f64::from(weights.mask) * losses.mask;

    let (mut logits, mut distances, mut coefficients, mut prototypes) =
        (vec![], vec![], vec![], vec![]);
    for (_, g) in results {
        logits.push(g.logits);
        distances.push(g.distances);
        coefficients.push(g.coefficients);
        prototypes.push(g.prototypes);
    }
    let (by_weight, by_positives) = ((1.0 / weight) as f32, (1.0 / positives) as f32);
    let mut nodes: Vec<(Rows<usize, D>, Vec<f32>)> = Vec::new();
    let mut add = |levels: Vec<Rows<usize, D>>, pictures: &[Vec<f32>], scale| {
        let gradients = per_level(&levels, pictures, scale);
        nodes.extend(levels.into_iter().zip(gradients));
    };
    add(outputs.logits, &logits, by_weight);
    add(outputs.distances, &distances, by_weight);
    add(outputs.coefficients, &coefficients, by_positives);
    add(
        outputs.prototypes.into_iter().collect(),
        &prototypes,
        by_positives,
    );
    // The value stands in the first node; the others add their slopes alone.
    let (mut value, mut tape, mut total) = (losses.loss as f32, tape, None::<Scalar<D>>);
    for (x, gradient) in nodes {
        let part = host_loss(x.put_tape(tape), std::mem::take(&mut value), gradient);
        let (sum, t) = match total {
            None => part,
            Some(before) => part + before,
        }
        .split_tape();
        (total, tape) = (Some(sum), t);
    }
    (
        total.expect("a detector has outputs").put_tape(tape),
        losses,
    )
}

/// Exports the model after checking it against training on a picture of the data, and keeps its weights.
fn ship<A: Arch, D: Backend>(
    model: &Detector<A, D>,
    spec: &DetectorSpec,
    positions: &EncoderPositions,
    data: &PackedSet,
    anchors: &[Anchor],
    folder: &RunFolder,
) -> Result<(PathBuf, ParityReport), FinetuneError> {
    let mut dict = StateDict::default();
    dict.insert_module("", model);
    let mut weights = Weights::new();
    for (name, tensor) in &dict.tensors {
        if !["mask_token", "pos_mask_token", "pos_field.weight"].contains(&name.as_str()) {
            weights.insert(
                name.clone(),
                &tensor.shape,
                Cow::Borrowed(&tensor.values[..]),
            )?;
        }
    }
    let grid = spec.grid();
    let baked = match positions {
        EncoderPositions::Fixed(values) => values.clone(),
        EncoderPositions::Field(taps) => {
            let field = &dict.tensors["pos_field.weight"].values;
            let mut out = vec![0.0; grid * grid * A::WIDTH];
            crate::field::sample(field, A::WIDTH, taps, &mut out);
            out
        }
    };
    weights.insert("pos_embed", &[grid * grid, A::WIDTH], baked)?;
    let classes = data
        .categories()
        .iter()
        .map(|c| Class {
            id: c.id,
            name: c.name.clone(),
        })
        .collect();
    let card = spec.card(classes);

    let picture = data.read(0)?.image;
    let mut preprocessor = intertwine_detect::Preprocessor::new(&card);
    let mut image = vec![0.0; preprocessor.input_len()];
    preprocessor
        .apply(&picture, &mut image)
        .map_err(intertwine_detect::DetectError::from)
        .map_err(ExportError::from)?;
    let patches = cut(&image, spec.image_size, spec.patch);
    let (outputs, NoneTape) = model.forward(patches, positions.view(), 1, grid, None, NoneTape);
    let host = on_host(&outputs, 1).remove(0);
    let boxes: Vec<f32> = anchors
        .iter()
        .zip(host.distances.chunks_exact(4))
        .flat_map(|(a, d)| decode(a, d))
        .collect();
    let scores: Vec<f32> = host
        .logits
        .iter()
        .map(|z| 1.0 / (1.0 + (-z).exp()))
        .collect();
    let coefficients: Vec<f32> = host.coefficients.iter().map(|v| v.tanh()).collect();
    // Rows to planes, as the exported network has them.
    let count = spec.prototypes.max(1);
    let cells = host.prototypes.len() / count;
    let prototypes: Vec<f32> = (0..count)
        .flat_map(|p| (0..cells).map(move |i| (i, p)))
        .map(|(i, p)| host.prototypes[i * count + p])
        .collect();
    let has_masks = spec.prototypes > 0;
    let outputs = RawOutputs {
        boxes: &boxes,
        scores: &scores,
        coefficients: has_masks.then_some(&coefficients[..]),
        prototypes: has_masks.then_some(&prototypes[..]),
    };
    let path = folder.path().join("model.onnx");
    let parity = export(
        spec,
        &weights,
        &card,
        Reference {
            image: &image,
            outputs,
        },
        &path,
    )?;
    dict.metadata
        .insert("format".into(), "intertwine-detector-1".into());
    dict.write(&folder.model())?;
    Ok((path, parity))
}

/// A planar picture as rows of patches, columns in (channel, y, x) order.
fn cut(image: &[f32], side: usize, patch: usize) -> Vec<f32> {
    let grid = side / patch;
    let mut out = Vec::with_capacity(image.len());
    for cell in 0..grid * grid {
        let (row, column) = (cell / grid * patch, cell % grid * patch);
        for channel in 0..3 {
            for y in row..row + patch {
                out.extend_from_slice(&image[(channel * side + y) * side + column..][..patch]);
            }
        }
    }
    out
}

//! A model and everything around it, as one thing that turns pictures into detections.

use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use image::RgbImage;
use intertwine_flow::describe::Description;
use intertwine_flow::Counters;

use crate::card::ModelCard;
use crate::engine::{Engine, Model, Options};
use crate::error::{DetectError, ModelError};
use crate::graph::{edge_graph, unwrap_error, EdgeGraph, Frame, Judge};
use crate::postprocess::{Detection, Postprocessor, RawOutputs, Thresholds};
use crate::preprocess::Preprocessor;

/// How long a node of the network takes.
#[derive(Clone, Debug)]
pub struct NodeTime {
    /// Its name, after the model file's.
    pub name: String,
    /// What it does.
    pub kind: String,
    /// The mean of a run.
    pub time: Duration,
}

/// Finds things in pictures with an exported model.
///
/// One detector serves one thread, and is `Send`. [`try_clone`](Self::try_clone) makes another on the same
/// weights. Buffers are kept from one picture to the next.
///
/// ```
/// use image::{Rgb, RgbImage};
/// use intertwine_detect::Detector;
///
/// // A small model of the tests, which finds bright and dark squares.
/// let mut detector = Detector::load("tests/data/squares.onnx".as_ref())?;
/// let mut picture = RgbImage::from_pixel(128, 128, Rgb([128; 3]));
/// for (x, y) in (32..48).flat_map(|x| (64..80).map(move |y| (x, y))) {
///     picture.put_pixel(x, y, Rgb([255; 3]));
/// }
/// let found = detector.detect(&picture)?.to_vec();
/// assert_eq!(found.len(), 1);
/// assert_eq!(found[0].bbox, [32.0, 64.0, 48.0, 80.0]);
/// assert_eq!(detector.card().classes[found[0].class].name, "bright");
/// # Ok::<(), intertwine_detect::DetectError>(())
/// ```
pub struct Detector {
    graph: EdgeGraph,
    preprocessor: Preprocessor,
    engine: Engine,
    judge: Judge,
}

impl Detector {
    /// Reads a model from a file, or from `model.onnx` in a folder, as fine-tuning writes it. It keeps what is fit to be shown: see
    /// [`set_thresholds`](Self::set_thresholds).
    ///
    /// # Errors
    /// A file that cannot be read, is no model of ours, or contradicts its own metadata.
    pub fn load(path: &Path) -> Result<Self, DetectError> {
        Self::load_with(path, Options::default())
    }

    /// [`load`](Self::load) with a choice of what computes the network.
    ///
    /// # Errors
    /// As [`load`](Self::load); options that do not go together.
    pub fn load_with(path: &Path, options: Options) -> Result<Self, DetectError> {
        let in_folder = path.is_dir().then(|| path.join("model.onnx"));
        let path = in_folder.as_deref().unwrap_or(path);
        let read = || {
            let bytes = std::fs::read(path)?;
            let model = Model::decode(&bytes)?;
            drop(bytes);
            Self::new(model, options)
        };
        read().map_err(|source| DetectError::Model {
            origin: path.display().to_string(),
            source,
        })
    }

    /// Reads a model from memory.
    ///
    /// # Errors
    /// Bytes that are no model of ours, or one that contradicts its own metadata.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DetectError> {
        Self::from_bytes_with(bytes, Options::default())
    }

    /// [`from_bytes`](Self::from_bytes) with a choice of what computes the network.
    ///
    /// # Errors
    /// As [`from_bytes`](Self::from_bytes); options that do not go together.
    pub fn from_bytes_with(bytes: &[u8], options: Options) -> Result<Self, DetectError> {
        let model = Model::decode(bytes).and_then(|model| Self::new(model, options));
        model.map_err(|source| DetectError::Model {
            origin: "from memory".into(),
            source,
        })
    }

    fn new(model: Model, options: Options) -> Result<Self, ModelError> {
        let (engine, card) = Engine::new(model, options)?;
        Ok(Self::assemble(engine, card))
    }

    fn assemble(engine: Engine, card: ModelCard) -> Self {
        Self {
            graph: edge_graph().inline(),
            preprocessor: Preprocessor::new(&card),
            engine,
            judge: Judge {
                thresholds: Thresholds::display(&card),
                card,
                postprocessor: Postprocessor::new(),
                detections: Vec::new(),
            },
        }
    }

    /// Another detector on the same weights and with the same thresholds, for another thread.
    ///
    /// # Errors
    /// The runtime cannot set up another session.
    pub fn try_clone(&self) -> Result<Self, DetectError> {
        let mut clone = Self::assemble(self.engine.try_clone()?, self.card().clone());
        clone.set_thresholds(*self.thresholds());
        Ok(clone)
    }

    /// How many threads may work on one picture; at first one. More threads give a result sooner; more
    /// detectors, each on a thread of its own, give more results.
    ///
    /// # Errors
    /// The threads cannot be started.
    pub fn set_threads(&mut self, threads: NonZeroUsize) -> Result<(), DetectError> {
        self.engine.set_threads(threads)
    }

    /// What the model says about itself.
    pub fn card(&self) -> &ModelCard {
        &self.judge.card
    }

    /// Which detections are kept; at first [`Thresholds::display`].
    pub fn thresholds(&self) -> &Thresholds {
        &self.judge.thresholds
    }

    /// Chooses which detections are kept; [`Thresholds::evaluation`] to measure average precision.
    pub fn set_thresholds(&mut self, thresholds: Thresholds) {
        self.judge.thresholds = thresholds;
    }

    /// The things in a picture, strongest first. They are valid until the next call.
    ///
    /// # Errors
    /// A picture without pixels; a failure of the runtime.
    pub fn detect(&mut self, picture: &RgbImage) -> Result<&[Detection], DetectError> {
        let frame = Frame {
            picture,
            preprocessor: &mut self.preprocessor,
            engine: &mut self.engine,
            judge: &mut self.judge,
        };
        self.graph.push(frame).map_err(unwrap_error)?;
        Ok(&self.judge.detections)
    }

    /// The graph that [`detect`](Self::detect) runs, to be drawn as Mermaid or DOT.
    pub fn describe() -> Description {
        edge_graph().describe()
    }

    /// Pictures and time of each stage so far.
    pub fn counters(&self) -> Counters {
        self.graph.counters()
    }

    /// How long each node of the network takes, the mean of so many runs on the input of the last picture.
    ///
    /// # Errors
    /// A failure of the runtime.
    pub fn profile(&mut self, runs: NonZeroUsize) -> Result<Vec<NodeTime>, DetectError> {
        let nodes = self.engine.nodes();
        let mut times = vec![Duration::ZERO; nodes.len()];
        for _ in 0..runs.get() {
            self.engine.run_timed(&mut times)?;
        }
        let mean = |time: Duration| time.div_f64(runs.get() as f64);
        let nodes = nodes.into_iter().zip(times);
        Ok(nodes
            .map(|((name, kind), time)| NodeTime {
                name,
                kind,
                time: mean(time),
            })
            .collect())
    }

    /// Runs the bare network on an input tensor `[1, 3, S, S]`, normalised, row-major.
    ///
    /// # Errors
    /// A slice of the wrong length; a failure of the runtime.
    pub fn run_raw(&mut self, input: &[f32]) -> Result<RawOutputs<'_>, DetectError> {
        let tensor = self.engine.input_mut()?;
        if input.len() != tensor.len() {
            return Err(DetectError::InputLength {
                found: input.len(),
                expected: tensor.len(),
                size: self.judge.card.input_size,
            });
        }
        tensor.copy_from_slice(input);
        self.engine.run()
    }
}

//! The two graphs the project is made of, with stand-ins for the work.

mod support;

use std::{sync::Arc, time::Duration};

use intertwine_flow::{
    chain::{Chain, Parallel},
    input,
    random::{stream, Purpose},
    stage, try_stage, Batch, BatchGraph, FlowError, Pool, Pooled, Source, Stage, StageStats, Stats,
};
use rand::RngExt;
use support::{n, on, THREADS};

/// Stands for a set of packed pictures.
struct PackedSet {
    pictures: Vec<Vec<u8>>,
}

/// Positions go on over the epochs: `epoch = position / pictures`.
#[derive(Clone)]
struct Shards(Arc<PackedSet>);

struct Record {
    set: Arc<PackedSet>,
    epoch: u64,
    index: u64,
}

impl Stage<u64> for Shards {
    type Out = Record;
    type Scratch = ();
    type Error = std::io::Error;

    fn name(&self) -> &'static str {
        "Shards"
    }

    fn scratch(&self) {}

    fn run(&self, position: u64, (): &mut ()) -> std::io::Result<Record> {
        let pictures = self.0.pictures.len() as u64;
        Ok(Record {
            set: Arc::clone(&self.0),
            epoch: position / pictures,
            index: position % pictures,
        })
    }
}

impl Source for Shards {
    fn len(&self) -> Option<u64> {
        None
    }

    fn label(&self, position: u64) -> Option<String> {
        Some(format!(
            "picture {}",
            position % self.0.pictures.len() as u64
        ))
    }
}

/// Decodes into a recycled buffer and crops.
struct DecodeCrop {
    pool: Pool<Vec<u8>>,
}

struct Crop {
    pixels: Pooled<Vec<u8>>,
    epoch: u64,
    index: u64,
}

impl Stage<Record> for DecodeCrop {
    type Out = Crop;
    type Scratch = Vec<u8>;
    type Error = String;

    fn name(&self) -> &'static str {
        "DecodeCrop"
    }

    fn scratch(&self) -> Vec<u8> {
        Vec::new()
    }

    fn run(&self, record: Record, canvas: &mut Vec<u8>) -> Result<Crop, String> {
        canvas.clear();
        canvas.extend_from_slice(&record.set.pictures[record.index as usize]);
        if canvas.is_empty() {
            return Err("the picture is empty".into());
        }
        let mut pixels = self.pool.take();
        pixels.clear();
        pixels.extend(canvas.iter().step_by(2));
        Ok(Crop {
            pixels,
            epoch: record.epoch,
            index: record.index,
        })
    }
}

fn training(set: Vec<Vec<u8>>, seed: u64) -> Vec<Result<u64, String>> {
    let graph = training_graph(set, seed);
    graph
        .run(..)
        .map(|loss| loss.map_err(|error| format!("{error}: {}", error.source)))
        .take(6)
        .collect()
}

/// `Shards > Shuffle > DecodeCrop > Augment > Mask > Batch > Step`.
fn training_graph(
    set: Vec<Vec<u8>>,
    seed: u64,
) -> BatchGraph<impl Parallel<Out = (Crop, usize)>, impl Chain<Batch<(Crop, usize)>, Out = u64>> {
    let pictures = set.len() as u64;
    Shards(Arc::new(PackedSet { pictures: set }))
        .graph()
        .reorder("Shuffle", move |position| {
            let index = position % pictures;
            position - index + (3 * index + 1) % pictures
        })
        .then(DecodeCrop {
            pool: Pool::default(),
        })
        .then(stage("Augment", move |mut crop: Crop| {
            let mut rng = stream(seed, Purpose::Augment, crop.epoch, crop.index);
            crop.pixels
                .iter_mut()
                .for_each(|v| *v ^= rng.random::<u8>());
            crop
        }))
        .then(stage("Mask", move |crop: Crop| {
            let masked = stream(seed, Purpose::Mask, crop.epoch, crop.index)
                .random_range(0..crop.pixels.len());
            (crop, masked)
        }))
        .batch(n(4))
        .then(stage("Step", |batch: Batch<(Crop, usize)>| {
            batch
                .iter()
                .map(|(crop, masked)| u64::from(crop.pixels[*masked]))
                .sum::<u64>()
        }))
        .sink("Loss")
}

fn pictures() -> Vec<Vec<u8>> {
    (0..10u8)
        .map(|i| (0..40).map(|j| i.wrapping_mul(31) ^ j).collect())
        .collect()
}

#[test]
fn the_training_graph_gives_the_same_losses_for_any_threads() {
    let expected = training(pictures(), 7);
    assert!(expected.iter().all(Result::is_ok));
    assert_ne!(expected, training(pictures(), 8), "the seed has no effect");
    for threads in THREADS {
        assert_eq!(on(threads, || training(pictures(), 7)), expected);
    }
}

#[test]
fn a_bad_picture_is_named_as_the_source_knows_it() {
    let mut set = pictures();
    set[6].clear();
    // The shuffle visits 1, 4, 7, 0, 3, 6: position 5, in the second batch.
    let losses = training(set, 7);
    assert_eq!(losses.len(), 2);
    assert_eq!(
        losses[1].as_ref().unwrap_err(),
        "stage DecodeCrop failed at item 5 (picture 6): the picture is empty"
    );
}

#[test]
fn the_training_graph_is_drawn_with_its_bottleneck() {
    let description = training_graph(pictures(), 7).describe();
    assert_eq!(
        description.mermaid(),
        r#"flowchart LR
    n0[("Shards")]
    n1["Shuffle"]
    n2["DecodeCrop"]
    n3["Augment"]
    n4["Mask"]
    n5[["Batch"]]
    n6["Step"]
    n7(["Loss"])
    n0 -->|"Record"| n1
    n1 -->|"Record"| n2
    n2 -->|"Crop"| n3
    n3 -->|"Crop"| n4
    n4 -->|"(Crop, usize)"| n5
    n5 -->|"Batch#lt;(Crop, usize)#gt;"| n6
    n6 -->|"u64"| n7
"#
    );
    let ms = Duration::from_millis;
    let stage = |name, items, busy| StageStats {
        name,
        items,
        busy: ms(busy),
    };
    let stats = Stats {
        stages: vec![
            stage("Shards", 100, 0),
            stage("Shuffle", 100, 0),
            stage("DecodeCrop", 100, 20),
            stage("Augment", 100, 125),
            stage("Mask", 100, 5),
            stage("Step", 25, 50),
        ],
        sink: "Loss",
        threads: 2,
        consumed: 25,
        consumer_busy: ms(40),
        lent: ms(10),
        waiting: ms(90),
        helping: ms(60),
        full: ms(4),
        ready: 3,
        running: 2,
        window: 8,
    };
    assert_eq!(
        description.with(&stats).dot(),
        r#"digraph flow {
    rankdir=LR;
    node [shape=box];
    n0 [label="Shards\n100 x 0.000 ms\n0 % of the work", shape=cylinder];
    n1 [label="Shuffle\n100 x 0.000 ms\n0 % of the work"];
    n2 [label="DecodeCrop\n100 x 0.200 ms\n8 % of the work"];
    n3 [label="Augment\n100 x 1.250 ms\n52 % of the work", penwidth=4];
    n4 [label="Mask\n100 x 0.050 ms\n2 % of the work"];
    n5 [label="Batch", shape=box3d];
    n6 [label="Step\n25 x 2.000 ms\n21 % of the work"];
    n7 [label="Loss\n25 x 1.600 ms\n17 % of the work\nwaiting 75.0 % of its time\nqueue 3 of 8, full 0.004 s", style=rounded];
    n0 -> n1 [label="Record"];
    n1 -> n2 [label="Record"];
    n2 -> n3 [label="Crop"];
    n3 -> n4 [label="Crop"];
    n4 -> n5 [label="(Crop, usize)"];
    n5 -> n6 [label="Batch<(Crop, usize)>"];
    n6 -> n7 [label="u64"];
}
"#
    );
}

/// A borrowed frame of a camera: any lifetime will do.
struct Frame<'a> {
    pixels: &'a [u8],
}

struct Letterbox;

/// What the model sees; the buffer returns to its pool.
struct Tensor(Pooled<Vec<f32>>);

impl<'a> Stage<Frame<'a>> for Letterbox {
    type Out = Tensor;
    type Scratch = Pool<Vec<f32>>;
    type Error = String;

    fn name(&self) -> &'static str {
        "Letterbox"
    }

    fn scratch(&self) -> Self::Scratch {
        Pool::default()
    }

    fn run(&self, frame: Frame<'a>, pool: &mut Self::Scratch) -> Result<Tensor, String> {
        if frame.pixels.len() > 4 {
            return Err(format!("{} pixels do not fit 4", frame.pixels.len()));
        }
        let mut tensor = pool.take();
        tensor.clear();
        tensor.extend(frame.pixels.iter().map(|&v| f32::from(v)));
        tensor.resize(4, 0.0);
        Ok(Tensor(tensor))
    }
}

/// An engine that needs `&mut` to run, as inference engines do.
#[derive(Clone, Default)]
struct Engine {
    activations: Vec<f32>,
}

impl Engine {
    fn run(&mut self, input: &[f32]) -> Vec<f32> {
        self.activations.clear();
        self.activations.extend(input.iter().map(|v| v / 255.0));
        self.activations.clone()
    }
}

struct Model(Engine);

impl Stage<Tensor> for Model {
    type Out = Vec<f32>;
    type Scratch = Engine;
    type Error = std::convert::Infallible;

    fn name(&self) -> &'static str {
        "Model"
    }

    fn scratch(&self) -> Engine {
        self.0.clone()
    }

    fn run(&self, Tensor(tensor): Tensor, engine: &mut Engine) -> Result<Vec<f32>, Self::Error> {
        Ok(engine.run(&tensor))
    }
}

/// The graph in a struct, fed with frames that live shorter than it.
struct Detector<G> {
    graph: G,
}

impl<G: FnMut(Frame<'_>) -> Result<Vec<usize>, FlowError>> Detector<G> {
    fn detect(&mut self, pixels: Vec<u8>) -> Result<Vec<usize>, FlowError> {
        (self.graph)(Frame { pixels: &pixels })
    }
}

#[test]
fn the_edge_graph_takes_borrowed_frames() {
    let graph = input::<Frame<'_>>("Frame")
        .then(Letterbox)
        .then(Model(Engine::default()))
        .then(stage("Decode", |scores: Vec<f32>| {
            scores
                .into_iter()
                .enumerate()
                .filter(|s| s.1 > 0.5)
                .collect::<Vec<_>>()
        }))
        .then(try_stage("Nms", |boxes: Vec<(usize, f32)>| {
            Ok::<_, String>(boxes.into_iter().map(|b| b.0).collect::<Vec<_>>())
        }))
        .sink("Detections");
    let names: Vec<_> = graph
        .describe()
        .nodes()
        .iter()
        .map(|node| node.name)
        .collect();
    assert_eq!(
        names,
        ["Frame", "Letterbox", "Model", "Decode", "Nms", "Detections"]
    );
    assert!(graph
        .describe()
        .mermaid()
        .contains("n0 -->|\"Frame\"| n1\n"));

    let mut graph = graph.inline();
    let mut detector = Detector {
        graph: move |frame: Frame<'_>| graph.push(frame),
    };
    assert_eq!(detector.detect(vec![255, 0, 200]).unwrap(), [0, 2]);
    let error = detector.detect(vec![0; 5]).unwrap_err();
    assert_eq!(error.to_string(), "stage Letterbox failed at item 1");
    assert_eq!(error.source.to_string(), "5 pixels do not fit 4");
    assert_eq!(
        detector.detect(vec![0, 255]).unwrap(),
        [1],
        "it goes on after an error"
    );
}

//! Models whose structure is changed at random: whatever comes of it is an answer or an error.

use std::time::{Duration, Instant};

use image::RgbImage;
use intertwine_detect::{Detector, EngineKind, Options};
use prost::Message;
use tract_onnx::pb;

use crate::squares;

/// A 64-bit linear congruential generator (Knuth's MMIX constants).
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n.max(1)
    }

    fn of<'a, T>(&mut self, items: &'a mut [T]) -> Option<&'a mut T> {
        let at = self.below(items.len());
        items.get_mut(at)
    }

    fn number(&mut self, now: i64) -> i64 {
        let strange = [
            0,
            1,
            -1,
            2,
            3,
            now + 1,
            now - 1,
            2 * now,
            i64::MAX,
            i64::MIN,
            1 << 33,
        ];
        strange[self.below(strange.len())]
    }
}

/// One change. What it needs may not be there; then nothing happens.
fn mutate(graph: &mut pb::GraphProto, random: &mut Random) -> Option<()> {
    let names: Vec<String> = graph.node.iter().flat_map(|n| n.output.clone()).collect();
    let kinds: Vec<String> = graph.node.iter().map(|n| n.op_type.clone()).collect();
    let (name, kind) = (random.below(names.len()), random.below(kinds.len()));
    let change = random.below(10);
    if change <= 2 {
        let tensor = random.of(&mut graph.initializer)?;
        match change {
            0 => {
                let dim = random.of(&mut tensor.dims)?;
                *dim = random.number(*dim);
            }
            1 => {
                let length = random.below(tensor.raw_data.len());
                tensor.raw_data.truncate(length);
            }
            _ => tensor.data_type = random.below(17) as i32,
        }
        return Some(());
    }
    if change == 3 {
        let at = random.below(graph.node.len());
        (at < graph.node.len()).then(|| graph.node.remove(at))?;
        return Some(());
    }
    let node = random.of(&mut graph.node)?;
    match change {
        4 => *random.of(&mut node.input)? = names.get(name)?.clone(),
        5 => *random.of(&mut node.output)? = names.get(name)?.clone(),
        6 => node.input.reverse(),
        7 => node.op_type = kinds.get(kind)?.clone(),
        8 => {
            node.input.pop();
        }
        _ => {
            let attribute = random.of(&mut node.attribute)?;
            attribute.i = random.number(attribute.i);
            if let Some(i) = random.of(&mut attribute.ints) {
                *i = random.number(*i);
            }
        }
    }
    Some(())
}

/// Loads and runs a changed model with either engine. Returns whether it was accepted.
fn survives(model: &pb::ModelProto, seed: u64) -> bool {
    let mut random = Random(seed);
    let mut model = model.clone();
    for _ in 0..=random.below(3) {
        mutate(model.graph.as_mut().unwrap(), &mut random);
    }
    let bytes = model.encode_to_vec();
    let picture = RgbImage::from_fn(90, 70, |x, y| image::Rgb([x as u8, y as u8, 200]));
    let mut accepted = false;
    for engine in [EngineKind::Fused, EngineKind::Tract] {
        let options = Options {
            engine,
            ..Options::default()
        };
        if let Ok(mut detector) = Detector::from_bytes_with(&bytes, options) {
            let _ = detector.detect(&picture);
            accepted = true;
        }
    }
    accepted
}

#[test]
fn a_changed_structure_is_an_answer_or_an_error() {
    let model = squares::proto();
    let accepted = (0..150).filter(|&seed| survives(&model, seed)).count();
    // Changes that all were refused at once would have tested little.
    assert!((5..145).contains(&accepted), "{accepted} of 150 ran");
}

/// `INTERTWINE_MODEL=exported.onnx INTERTWINE_MINUTES=10 cargo test -p intertwine-detect mutated -- --ignored --nocapture`
#[test]
#[ignore = "minutes, on a model of your own"]
fn a_changed_export_is_an_answer_or_an_error() {
    let path = std::env::var("INTERTWINE_MODEL").expect("INTERTWINE_MODEL names an exported model");
    let number = |name, default| std::env::var(name).map_or(default, |n| n.parse().unwrap());
    let (minutes, first) = (
        number("INTERTWINE_MINUTES", 1.0),
        number("INTERTWINE_SEED", 0.0),
    );
    let model = pb::ModelProto::decode(&*std::fs::read(path).unwrap()).unwrap();
    let (start, limit) = (Instant::now(), Duration::from_secs_f64(60.0 * minutes));
    let (mut seed, mut accepted) = (first as u64, 0);
    while start.elapsed() < limit {
        // Named first: a crash would leave no other trace. INTERTWINE_SEED goes on from there.
        std::fs::write(std::env::temp_dir().join("mutated-seed"), seed.to_string()).unwrap();
        accepted += u64::from(survives(&model, seed));
        seed += 1;
    }
    println!("changed models up to {seed}, {accepted} ran");
}

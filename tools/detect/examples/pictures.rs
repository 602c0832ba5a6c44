//! The library alone: a model, some pictures, a line for each detection.
//!
//! ```sh
//! cargo run --release -p intertwine-detect --example pictures -- model.onnx picture.jpg ...
//! ```
//!
//! It needs nothing but the library, so it also runs where the program does not: `tools/detect/wasm.sh`.

use std::error::Error;
use std::time::Instant;

use intertwine_detect::{picture, Detector};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let model = args.next().ok_or("usage: pictures MODEL.onnx PICTURE...")?;
    let mut detector = Detector::load(model.as_ref())?;
    for path in args {
        let picture = picture::open(path.as_ref()).map_err(|error| format!("{path}: {error}"))?;
        let start = Instant::now();
        let found = detector.detect(&picture)?.to_vec();
        eprintln!("{path}: {:.1} ms", 1e3 * start.elapsed().as_secs_f64());
        for detection in found {
            let class = &detector.card().classes[detection.class].name;
            let [left, top, right, bottom] = detection.bbox;
            println!(
                "{path} {class} {:.6} {left:.4} {top:.4} {right:.4} {bottom:.4}",
                detection.score
            );
        }
    }
    Ok(())
}

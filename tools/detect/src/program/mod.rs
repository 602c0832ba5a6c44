//! The program around the library.

pub mod bench;
mod inputs;
mod report;
pub mod run;

/// Reads a probability given on the command line.
fn probability(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(value) if (0.0..=1.0).contains(&value) => Ok(value),
        _ => Err("expected a number from 0 to 1".into()),
    }
}

//! What of an earlier run's work still holds.
//!
//! A finished shard is taken over if its file is as it was written and if it was made from what the source
//! still says: of each picture, its labels, and the length and times of its file. So a source that has
//! changed costs the shards from the change on, and is never packed half old and half new.

use std::fmt::{self, Write};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;

use rayon::prelude::*;

use crate::import::{Importer, Item, Stamp};
use crate::journal::Step;
use crate::shard::FinishedShard;

/// What an item is made from, as a hash.
pub(crate) fn inputs_of(item: &Item, stamp: Stamp) -> blake3::Hash {
    /// Hashes text as it is formatted.
    struct Text(blake3::Hasher);
    impl Write for Text {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0.update(text.as_bytes());
            Ok(())
        }
    }
    let mut text = Text(blake3::Hasher::new());
    // Debug text names every field and every bit of a number, and is compared with that of the same program only.
    write!(text, "{item:?} {stamp:?}").expect("hashing text cannot fail");
    text.0.finalize()
}

/// The hashes of several items in order, as one in hexadecimal.
#[derive(Default)]
pub(crate) struct Inputs(blake3::Hasher);

impl Inputs {
    /// Adds the next item's.
    pub fn add(&mut self, item: &blake3::Hash) {
        self.0.update(item.as_bytes());
    }

    /// The hash of all that was added, which is forgotten then.
    pub fn take(&mut self) -> String {
        let hash = self.0.finalize().to_hex().to_string();
        self.0.reset();
        hash
    }
}

/// The first of the steps, as many as still hold, and why not more.
pub(crate) fn still_valid(
    mut steps: Vec<Step>,
    importer: &dyn Importer,
    folder: &Path,
) -> (Vec<Step>, Option<String>) {
    let starts = [0].into_iter().chain(steps.iter().map(|step| step.end));
    let ranges: Vec<_> = starts
        .zip(&steps)
        .map(|(start, step)| start..step.end)
        .collect();
    // Shard by shard: the files are large and the items many.
    let fault = steps
        .iter()
        .zip(ranges)
        .enumerate()
        .find_map(|(i, (step, range))| fault(step, range, importer, folder).map(|why| (i, why)));
    match fault {
        Some((valid, why)) => {
            steps.truncate(valid);
            (steps, Some(why))
        }
        None => (steps, None),
    }
}

/// Why a step does not hold.
fn fault(
    step: &Step,
    items: Range<usize>,
    importer: &dyn Importer,
    folder: &Path,
) -> Option<String> {
    let len = importer.len();
    if items.is_empty() || items.end > len || step.last && items.end < len {
        return Some(format!("the source has {len} pictures now"));
    }
    let item = |index| inputs_of(&importer.item(index), importer.stamp(index));
    let hashes: Vec<_> = items.clone().into_par_iter().map(item).collect();
    let mut inputs = Inputs::default();
    hashes.iter().for_each(|hash| inputs.add(hash));
    if inputs.take() != step.inputs {
        let (first, last) = (importer.item(items.start), importer.item(items.end - 1));
        return Some(format!(
            "pictures or labels from `{}` to `{}` have changed since",
            first.source, last.source
        ));
    }
    let sound = is_sound(&step.shard, folder).unwrap_or(false);
    (!sound).then(|| format!("`{}` is not as it was written", step.shard.file))
}

/// Whether a shard's file is as it was written.
fn is_sound(shard: &FinishedShard, folder: &Path) -> io::Result<bool> {
    let file = File::open(folder.join(&shard.file))?;
    if file.metadata()?.len() != shard.bytes {
        return Ok(false);
    }
    let hash = blake3::Hasher::new().update_reader(file)?.finalize();
    Ok(hash.to_hex().as_str() == shard.blake3)
}

//! Compares exported pictures with the files they were packed from, pixel by pixel.
//!
//! ```sh
//! pack-dataset PICTURES packed && unpack-dataset packed EXPORTED
//! cargo run --release -p intertwine-datasets --example compare_pictures -- PICTURES EXPORTED
//! ```

use std::path::{Path, PathBuf};

use intertwine_datasets::decode;
use rayon::prelude::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(pictures), Some(exported)) = (arguments.next(), arguments.next()) else {
        return Err("expected the folder of pictures and the folder they were exported to".into());
    };
    let entries = walkdir::WalkDir::new(&exported).into_iter();
    let files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.into_path()).filter(|path| path.is_file()))
        .collect();
    let differing: Vec<String> = files
        .par_iter()
        .filter_map(|file| compare(&pictures, &exported, file).err())
        .collect();
    differing
        .iter()
        .take(20)
        .for_each(|what| println!("{what}"));
    println!(
        "{} pictures compared, {} differ",
        files.len(),
        differing.len()
    );
    Ok(())
}

/// The exported file against the picture of its name, whatever that one's extension.
fn compare(pictures: &Path, exported: &Path, file: &Path) -> Result<(), String> {
    let name = file
        .strip_prefix(exported)
        .map_err(|error| error.to_string())?;
    let source = ["jpg", "jpeg", "png", "webp", "bmp", "gif"]
        .map(|extension| pictures.join(name).with_extension(extension))
        .into_iter()
        .find(|path| path.is_file())
        .ok_or_else(|| format!("{}: no such picture", name.display()))?;
    let read = |path: &Path| {
        let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
        let decoded = decode(&bytes).map_err(|error| error.to_string())?;
        Ok::<_, String>(decoded.upright())
    };
    match read(&source)? == read(file)? {
        true => Ok(()),
        false => Err(format!("{}: differs", name.display())),
    }
}

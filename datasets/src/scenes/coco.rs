//! Writes drawn scenes to disk the way a user's own data would come: a folder of PNG pictures and, with
//! labels, a COCO instances file with run-length masks (a ring has a hole, which polygons cannot say).

use super::{draw_scene, Scene, SceneConfig, CLASSES};
use intertwine_rle::Rle;
use rayon::prelude::*;
use serde::Serialize;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Why scenes could not be drawn or written.
#[derive(Debug, thiserror::Error)]
pub enum SceneError {
    /// A value of the configuration is out of range.
    #[error("scene configuration: {key} is {found}, expected {expected}")]
    Config {
        /// The key at fault.
        key: &'static str,
        /// Its value.
        found: String,
        /// The valid range.
        expected: &'static str,
    },
    /// A file or folder could not be written.
    #[error("cannot write {}: {source}; check the permissions and the free space there", path.display())]
    Write {
        /// What was to be written.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

/// What [`write_coco`] wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenSet {
    /// The label file, `DIR/annotations.json`.
    pub annotations: PathBuf,
    /// Folder of the pictures, `DIR/images`.
    pub images: PathBuf,
    /// Number of pictures.
    pub pictures: usize,
    /// Number of labelled objects.
    pub objects: usize,
}

#[derive(Serialize)]
struct CocoFile {
    info: Info,
    images: Vec<Image>,
    annotations: Vec<Annotation>,
    categories: Vec<Category>,
}

#[derive(Serialize)]
struct Info {
    description: String,
}

#[derive(Serialize)]
struct Image {
    id: u64,
    file_name: String,
    width: u32,
    height: u32,
}

#[derive(Serialize)]
struct Annotation {
    id: u64,
    image_id: u64,
    category_id: usize,
    bbox: [f32; 4],
    area: u64,
    iscrowd: u8,
    segmentation: Segmentation,
}

#[derive(Serialize)]
struct Segmentation {
    /// Height, then width.
    size: [u32; 2],
    counts: String,
}

#[derive(Serialize)]
struct Category {
    id: usize,
    name: &'static str,
    supercategory: &'static str,
}

/// Draws the scenes of `range` and writes `dir/images/*.png` and `dir/annotations.json`.
///
/// Image ids are the scenes' indices plus one and category ids the classes' plus one, since many tools
/// take 0 for "none". Files of the same names are replaced. The label file is written last and at once,
/// so where it is, its pictures are. The same call writes the same bytes on any number of threads.
pub fn write_coco(
    dir: &Path,
    config: &SceneConfig,
    seed: u64,
    range: Range<u64>,
) -> Result<WrittenSet, SceneError> {
    let images = dir.join("images");
    let objects = draw_to(&images, config, seed, range.clone(), |index, scene| {
        scene
            .objects
            .iter()
            .map(|object| annotate(config.size, index, object))
            .collect::<Vec<_>>()
    })?;
    let mut annotations: Vec<Annotation> = objects.into_iter().flatten().collect();
    for (annotation, id) in annotations.iter_mut().zip(1..) {
        annotation.id = id;
    }
    let written = WrittenSet {
        annotations: dir.join("annotations.json"),
        images,
        pictures: (range.end - range.start) as usize,
        objects: annotations.len(),
    };
    let file = CocoFile {
        info: Info {
            description: format!("Drawn scenes, seed {seed}, indices {range:?}, {config:?}"),
        },
        images: range
            .map(|index| Image {
                id: index + 1,
                file_name: file_name(index),
                width: config.size,
                height: config.size,
            })
            .collect(),
        annotations,
        categories: CLASSES[..config.classes]
            .iter()
            .zip(1..)
            .map(|(&name, id)| Category {
                id,
                name,
                supercategory: "shape",
            })
            .collect(),
    };
    intertwine_files::atomically(&written.annotations, |out| {
        serde_json::to_writer(out, &file).map_err(io::Error::from)
    })
    .map_err(write_error(&written.annotations))?;
    Ok(written)
}

/// Draws the scenes of `range` and writes them as `dir/*.png`, without labels, for pretraining.
pub fn write_pictures(
    dir: &Path,
    config: &SceneConfig,
    seed: u64,
    range: Range<u64>,
) -> Result<(), SceneError> {
    draw_to(dir, config, seed, range, |_, _| ()).map(|_| ())
}

/// Draws in parallel, writes each picture, and returns what `note` makes of the scenes, in order.
fn draw_to<T: Send>(
    dir: &Path,
    config: &SceneConfig,
    seed: u64,
    range: Range<u64>,
    note: impl Fn(u64, &Scene) -> T + Sync,
) -> Result<Vec<T>, SceneError> {
    config.check()?;
    if range.is_empty() {
        return Err(SceneError::Config {
            key: "range",
            found: format!("{range:?}"),
            expected: "at least one scene",
        });
    }
    fs::create_dir_all(dir).map_err(write_error(dir))?;
    range
        .into_par_iter()
        .map(|index| {
            let scene = draw_scene(config, seed, index);
            // Not synced: the pictures of a crashed run are drawn again, and thousands of syncs are slow.
            let path = dir.join(file_name(index));
            intertwine_files::quickly(&path, |out| {
                let encoder = image::codecs::png::PngEncoder::new(out);
                let written = scene.image.write_with_encoder(encoder);
                written.map_err(io::Error::other)
            })
            .map_err(write_error(&path))?;
            Ok(note(index, &scene))
        })
        .collect()
}

/// Zero-padded, so that the order of the names is the order of the scenes.
fn file_name(index: u64) -> String {
    format!("{index:06}.png")
}

/// An annotation that still lacks its id, which depends on the scenes before it.
fn annotate(size: u32, index: u64, object: &super::SceneObject) -> Annotation {
    let mask = Rle::encode(&object.mask, size, size);
    Annotation {
        id: 0,
        image_id: index + 1,
        category_id: object.class + 1,
        bbox: object.bbox,
        area: mask.area(),
        iscrowd: 0,
        segmentation: Segmentation {
            size: [size, size],
            counts: mask.to_coco_string(),
        },
    }
}

fn write_error(path: &Path) -> impl FnOnce(io::Error) -> SceneError + '_ {
    |source| SceneError::Write {
        path: path.to_owned(),
        source,
    }
}

//! Detections as a COCO result file, and the picture ids of a COCO label file.
//!
//! The format: <https://cocodataset.org/#format-results>.

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::Path;

use intertwine_rle::Rle;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::card::ModelCard;
use crate::postprocess::Detection;

/// One detection of a COCO result file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResultEntry {
    /// Id of the picture.
    pub image_id: u64,
    /// Id of the category in the data the model was trained on.
    pub category_id: u32,
    /// `[x, y, width, height]` in source pixels.
    pub bbox: [f32; 4],
    /// Probability, 0..=1.
    pub score: f32,
    /// The mask, when the model has masks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segmentation: Option<Segmentation>,
    /// Name of the picture, written when its id is a mere running number. Readers of COCO results ignore it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_name: Option<String>,
}

/// A run-length mask in COCO's compressed form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segmentation {
    /// `[height, width]` of the picture, pixels.
    pub size: [u32; 2],
    /// The runs as COCO's string.
    pub counts: String,
}

impl From<&Rle> for Segmentation {
    fn from(mask: &Rle) -> Self {
        let (height, width) = mask.size();
        Self {
            size: [height, width],
            counts: mask.to_coco_string(),
        }
    }
}

/// The result entries of one picture.
pub fn entries<'a>(
    image_id: u64,
    detections: &'a [Detection],
    card: &'a ModelCard,
) -> impl Iterator<Item = ResultEntry> + 'a {
    detections.iter().map(move |detection| {
        let [x0, y0, x1, y1] = detection.bbox;
        ResultEntry {
            image_id,
            category_id: card.classes[detection.class].id,
            bbox: [x0, y0, x1 - x0, y1 - y0],
            score: detection.score,
            segmentation: detection.mask.as_ref().map(Segmentation::from),
            file_name: None,
        }
    })
}

/// A result file while it is written, one detection a line: none of them need be kept.
pub struct Results<W> {
    to: W,
    count: u64,
}

impl<W: Write> Results<W> {
    /// None so far.
    pub fn new(to: W) -> Self {
        Self { to, count: 0 }
    }

    /// Writes a detection.
    ///
    /// # Errors
    /// Whatever the writer reports.
    pub fn push(&mut self, entry: &ResultEntry) -> io::Result<()> {
        let separator = if self.count == 0 { "[\n" } else { ",\n" };
        self.to.write_all(separator.as_bytes())?;
        serde_json::to_writer(&mut self.to, entry)?;
        self.count += 1;
        Ok(())
    }

    /// Ends the list; returns how many detections are in it.
    ///
    /// # Errors
    /// Whatever the writer reports.
    pub fn finish(mut self) -> io::Result<u64> {
        let end = if self.count == 0 { "[]\n" } else { "\n]\n" };
        self.to.write_all(end.as_bytes())?;
        Ok(self.count)
    }
}

/// Why the picture ids of a label file cannot be used.
#[derive(Debug, Error)]
pub enum ImageIdsError {
    /// The file could not be read.
    #[error("cannot read the file: {0}")]
    Read(#[from] io::Error),
    /// Not the JSON of a COCO label file.
    #[error("not a COCO label file (expected `images` with `id` and `file_name`): {0}")]
    Json(#[from] serde_json::Error),
    /// Two pictures of one name.
    #[error("`images` holds the file name `{0}` twice")]
    Duplicate(String),
}

/// Picture ids by file name, from a COCO label file.
#[derive(Debug)]
pub struct ImageIds {
    by_name: HashMap<String, u64>,
}

impl ImageIds {
    /// Reads the `images` of a COCO label file.
    ///
    /// # Errors
    /// A file that cannot be read or is no label file; one file name with two ids.
    pub fn read(path: &Path) -> Result<Self, ImageIdsError> {
        #[derive(Deserialize)]
        struct Labels {
            images: Vec<Image>,
        }
        #[derive(Deserialize)]
        struct Image {
            id: u64,
            file_name: String,
        }
        let labels: Labels = serde_json::from_slice(&std::fs::read(path)?)?;
        let mut by_name = HashMap::with_capacity(labels.images.len());
        for Image { id, file_name } in labels.images {
            if by_name
                .insert(file_name.replace('\\', "/"), id)
                .is_some_and(|other| other != id)
            {
                return Err(ImageIdsError::Duplicate(file_name));
            }
        }
        Ok(Self { by_name })
    }

    /// The id of a picture: that of the longest end of `path` that is a file name of the label file, so that
    /// `/data/val/a/1.jpg` finds `a/1.jpg` before `1.jpg`.
    pub fn of(&self, path: &Path) -> Option<u64> {
        let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
        (0..parts.len()).find_map(|start| self.by_name.get(&parts[start..].join("/")).copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_of_entries_is_one_list() {
        let entry = |image_id| ResultEntry {
            image_id,
            category_id: 3,
            bbox: [0.5, 1.0, 2.0, 3.0],
            score: 0.25,
            segmentation: None,
            file_name: None,
        };
        for (count, text) in [
            (0, "[]\n"),
            (1, "[\n{\"image_id\":0,\"category_id\":3,\"bbox\":[0.5,1.0,2.0,3.0],\"score\":0.25}\n]\n"),
        ] {
            let mut bytes = Vec::new();
            let mut results = Results::new(&mut bytes);
            (0..count).for_each(|id| results.push(&entry(id)).unwrap());
            assert_eq!(results.finish().unwrap(), count);
            assert_eq!(String::from_utf8(bytes).unwrap(), text);
        }
        let mut bytes = Vec::new();
        let mut results = Results::new(&mut bytes);
        (0..3).for_each(|id| results.push(&entry(id)).unwrap());
        assert_eq!(results.finish().unwrap(), 3);
        let read: Vec<ResultEntry> = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(read, [0, 1, 2].map(entry));
    }

    #[test]
    fn the_longest_matching_end_of_a_path_decides() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("labels.json");
        std::fs::write(
            &file,
            r#"{"images": [{"id": 5, "file_name": "1.jpg"}, {"id": 6, "file_name": "a\\1.jpg", "width": 3}]}"#,
        )
        .unwrap();
        let ids = ImageIds::read(&file).unwrap();
        assert_eq!(ids.of("/data/a/1.jpg".as_ref()), Some(6));
        assert_eq!(ids.of("/data/b/1.jpg".as_ref()), Some(5));
        assert_eq!(ids.of("1.jpg".as_ref()), Some(5));
        assert_eq!(ids.of("/data/a/2.jpg".as_ref()), None);
    }

    #[test]
    fn two_ids_for_one_name_are_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("labels.json");
        let images = r#"[{"id": 5, "file_name": "1.jpg"}, {"id": 6, "file_name": "1.jpg"}]"#;
        std::fs::write(&file, format!(r#"{{"images": {images}}}"#)).unwrap();
        assert!(
            matches!(ImageIds::read(&file), Err(ImageIdsError::Duplicate(name)) if name == "1.jpg")
        );
        std::fs::write(&file, images).unwrap();
        assert!(matches!(ImageIds::read(&file), Err(ImageIdsError::Json(_))));
    }
}

//! What the fuzz targets call of the importers.

use std::io::Cursor;

use super::coco_json::{Annotation, AnnotationHead, Document, Image};
use super::webdataset::{json, tar_index};
use super::{coco_label, glob, list as text_list, voc, yolo as yolo_set};
use crate::fuzzing::place_all;
use crate::labels::{Label, Outline, Unit};
use crate::sample::Category;

/// A COCO label file.
pub fn coco(bytes: &[u8]) {
    let Ok(text) = String::from_utf8(bytes.to_vec()) else {
        return;
    };
    let Ok(document) = Document::parse(text) else {
        return;
    };
    for at in &document.images {
        let _ = document.entry::<Image>(at);
    }
    let categories = [0, 1].map(|id| Category {
        id,
        name: String::new(),
    });
    for at in &document.annotations {
        let _ = document.entry::<AnnotationHead>(at);
        let annotation = document.entry::<Annotation>(at);
        place_all(coco_label::label(
            1,
            annotation,
            &categories,
            &mut Vec::new(),
        ));
    }
}

/// A VOC annotation.
pub fn voc(bytes: &[u8]) {
    let Ok(annotation) = std::str::from_utf8(bytes).map_or(Err(String::new()), voc::xml::parse)
    else {
        return;
    };
    place_all(
        annotation
            .objects
            .into_iter()
            .flatten()
            .map(|object| Label {
                id: 1,
                category: 0,
                unit: Unit::Pixel,
                bbox: Some(object.bbox.to_vec()),
                area: None,
                crowd: object.difficult,
                outline: None,
            }),
    );
}

/// The rows of a YOLO label file, and the same text as a `data.yaml`.
pub fn yolo(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let rows = yolo_set::txt::rows(text).filter_map(|row| yolo_set::txt::parse(row, false).ok());
    place_all(rows.map(|row| Label {
        id: 1,
        category: 0,
        unit: Unit::Picture,
        bbox: Some(row.bbox.to_vec()),
        area: None,
        crowd: false,
        outline: row.polygon.map(|polygon| Outline::Polygons(vec![polygon])),
    }));
    if let Ok(yaml) = yolo_set::yaml::parse(text) {
        assert!(yaml.names.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }
}

/// A tar archive, and the `json` members in it.
pub fn tar(bytes: &[u8]) {
    let Ok(index) = tar_index::index(Cursor::new(bytes), bytes.len() as u64) else {
        return;
    };
    for member in index.members {
        let member = &bytes[member.offset as usize..][..member.len as usize];
        let _ = json::survey(member);
    }
}

/// The lines of a list, and the same text as a pattern of file names.
pub fn list(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (name, class) = text_list::entry(line, |name| name.len() % 2 == 0);
        assert!(!name.is_empty() && class != Some(""));
        // More than a few digits only name more files.
        if line.len() <= 24 {
            let _ = glob::braces(line);
        }
    }
}

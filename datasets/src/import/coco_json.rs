//! The words of a COCO label file, read entry by entry so that one bad entry costs only itself.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use intertwine_rle::Rle;
use serde::de::IgnoredAny;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::labels::Outline;

/// Where each entry of the three lists stands in the text.
#[derive(Debug)]
pub(super) struct Document {
    pub text: String,
    pub images: Vec<Range<usize>>,
    pub annotations: Vec<Range<usize>>,
    pub categories: Vec<Range<usize>>,
}

impl Document {
    /// Finds the lists. The error says what is missing or not JSON.
    pub(super) fn parse(text: String) -> Result<Self, String> {
        let text = match serde_json::from_str::<IgnoredAny>(&text) {
            Ok(_) => text,
            // Python writes NaN and Infinity, which are no JSON; as null they cost one annotation only.
            Err(error) => match without_non_finite(&text) {
                Cow::Owned(mended) if serde_json::from_str::<IgnoredAny>(&mended).is_ok() => mended,
                _ => return Err(format!("not JSON: {error}")),
            },
        };
        let top: BTreeMap<String, &RawValue> = serde_json::from_str(&text)
            .map_err(|_| format!("{EXPECTED}; found {}", shorten(&text)))?;
        let [images, annotations, categories] =
            ["images", "annotations", "categories"].map(|key| list(&text, &top, key));
        let (images, annotations, categories) = (images?, annotations?, categories?);
        Ok(Self {
            text,
            images,
            annotations,
            categories,
        })
    }

    /// Reads one entry.
    pub(super) fn entry<'a, T: Deserialize<'a>>(&'a self, at: &Range<usize>) -> Result<T, String> {
        entry(&self.text[at.clone()])
    }
}

/// Reads one entry's text.
pub(super) fn entry<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| {
        // Line and column would be those within the entry.
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or_default();
        format!("{message}, in {}", shorten(text))
    })
}

const EXPECTED: &str =
    "a COCO label file is an object with the lists images, annotations and categories";

fn list(
    text: &str,
    top: &BTreeMap<String, &RawValue>,
    key: &str,
) -> Result<Vec<Range<usize>>, String> {
    let Some(value) = top.get(key) else {
        let found = top
            .keys()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(", ");
        let hint = if key == "annotations" {
            "; to pack pictures without labels, give their folder"
        } else {
            ""
        };
        return Err(format!(
            "the key `{key}` is missing: {EXPECTED}; found the keys [{found}]{hint}"
        ));
    };
    let entries: Vec<&RawValue> = serde_json::from_str(value.get()).map_err(|_| {
        format!(
            "`{key}` is not a list: {EXPECTED}; found {}",
            shorten(value.get())
        )
    })?;
    let start = |entry: &RawValue| entry.get().as_ptr() as usize - text.as_ptr() as usize;
    Ok(entries
        .into_iter()
        .map(|entry| start(entry)..start(entry) + entry.get().len())
        .collect())
}

/// The beginning of a text, on one line.
fn shorten(text: &str) -> String {
    let mut line: String = text.chars().take(80).collect();
    if line.len() < text.len() {
        line.push_str("..");
    }
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// `text` with `null` for each number that is not finite (`NaN`, `Infinity`, `1e999`), outside of strings.
fn without_non_finite(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let (mut out, mut copied, mut at) = (String::new(), 0, 0);
    while at < bytes.len() {
        if bytes[at] == b'"' {
            at += 1;
            while at < bytes.len() && bytes[at] != b'"' {
                at += if bytes[at] == b'\\' { 2 } else { 1 };
            }
            at += 1;
            continue;
        }
        let is_word = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'+' | b'.');
        let length = bytes[at..].iter().take_while(|b| is_word(b)).count();
        if length == 0 {
            at += 1;
            continue;
        }
        // `str::parse` takes every spelling of a number, "NaN" and "Infinity" included.
        if text[at..at + length]
            .parse::<f64>()
            .is_ok_and(|number| !number.is_finite())
        {
            out.push_str(&text[copied..at]);
            out.push_str("null");
            copied = at + length;
        }
        at += length;
    }
    match copied {
        0 => Cow::Borrowed(text),
        _ => Cow::Owned(out + &text[copied..]),
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Image {
    pub id: u64,
    pub file_name: String,
    /// Some writers state the size as 640.0.
    pub width: Option<f64>,
    pub height: Option<f64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct AnnotationHead {
    /// Missing in files of some writers; then its position stands for it.
    pub id: Option<u64>,
    pub image_id: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Annotation<'a> {
    pub category_id: u64,
    /// `null` where a number is not finite.
    pub bbox: Option<Vec<Option<f64>>>,
    pub area: Option<f64>,
    #[serde(default)]
    pub iscrowd: Option<Flag>,
    /// Read apart, so that a bad mask does not cost the box.
    #[serde(borrow)]
    pub segmentation: Option<&'a RawValue>,
}

/// `0`, `1`, `false` or `true`.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Flag {
    Bool(bool),
    Number(u64),
}

impl Flag {
    pub(super) fn is_set(&self) -> bool {
        matches!(self, Self::Bool(true) | Self::Number(1..))
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Segmentation<'a> {
    Polygons(Vec<Vec<Option<f64>>>),
    /// One polygon without the list around it, as some writers have it.
    Polygon(Vec<Option<f64>>),
    Runs {
        /// (height, width)
        size: (u32, u32),
        counts: Vec<u32>,
    },
    Text {
        size: (u32, u32),
        #[serde(borrow)]
        counts: Cow<'a, str>,
    },
}

/// Reads a `segmentation`; `None` if it is empty, as in files with boxes only.
pub(super) fn outline(segmentation: &str) -> Result<Option<Outline>, String> {
    let parsed = serde_json::from_str(segmentation).map_err(|_| {
        let expected =
            "neither polygons [[x, y, ..], ..] nor {size: [h, w], counts: [..] or \"..\"}";
        format!("{expected}: {}", shorten(segmentation))
    })?;
    let number = |value: Option<f64>| value.unwrap_or(f64::NAN);
    let polygon = |values: Vec<Option<f64>>| values.into_iter().map(number).collect();
    match parsed {
        Segmentation::Polygons(polygons) if polygons.is_empty() => Ok(None),
        Segmentation::Polygons(polygons) => Ok(Some(Outline::Polygons(
            polygons.into_iter().map(polygon).collect(),
        ))),
        Segmentation::Polygon(values) => Ok(Some(Outline::Polygons(vec![polygon(values)]))),
        Segmentation::Runs {
            size: (h, w),
            counts,
        } => Rle::from_counts(h, w, counts)
            .map(|m| Some(Outline::Mask(m)))
            .map_err(|e| e.to_string()),
        Segmentation::Text {
            size: (h, w),
            counts,
        } => Rle::from_string(h, w, &counts)
            .map(|m| Some(Outline::Mask(m)))
            .map_err(|e| e.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SOUND: &str = r#"{"images": [{"id": 1, "file_name": "NaN \" 1e999.jpg", "width": 4, "height": 3}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 2.5, 1e0], "iscrowd": 1,
            "segmentation": {"size": [3, 4], "counts": "04ON"}}, {"id": 2, "image_id": 1, "category_id": 1,
            "bbox": [NaN, -Infinity, 1e999, -0.5], "segmentation": [[0, 0, 1, 0, 1, 1]], "iscrowd": false}],
        "categories": [{"id": 1, "name": "Infinity"}]}"#;

    #[test]
    fn numbers_that_are_not_finite_cost_themselves_only() {
        let document = Document::parse(SOUND.into()).unwrap();
        let image: Image = document.entry(&document.images[0]).unwrap();
        assert_eq!(image.file_name, "NaN \" 1e999.jpg");
        let boxes = document
            .annotations
            .iter()
            .map(|at| document.entry::<Annotation>(at).unwrap().bbox.unwrap());
        assert_eq!(
            boxes.collect::<Vec<_>>(),
            [
                vec![Some(0.), Some(0.), Some(2.5), Some(1.)],
                vec![None, None, None, Some(-0.5)]
            ]
        );
    }

    #[test]
    fn segmentations() {
        let polygons = |text| match outline(text) {
            Ok(Some(Outline::Polygons(polygons))) => polygons,
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(polygons("[[0, 1, 2, 3.5]]"), [[0., 1., 2., 3.5]]);
        assert_eq!(polygons("[0, 1, 2]"), [[0., 1., 2.]]);
        assert!(polygons("[[null]]")[0][0].is_nan());
        for text in [
            r#"{"size": [2, 3], "counts": [1, 2, 3]}"#,
            r#"{"counts": "123", "size": [2, 3]}"#,
        ] {
            match outline(text) {
                Ok(Some(Outline::Mask(mask))) => {
                    assert_eq!((mask.size(), mask.area()), ((2, 3), 2), "{text}")
                }
                other => panic!("{text}: {other:?}"),
            }
        }
        assert!(matches!(outline("[]"), Ok(None)));
        for text in [
            r#"{"size": [2, 3], "counts": [1, 2]}"#,
            r#"{"size": [2], "counts": [1]}"#,
            "3",
            "[[[1]]]",
            r#""x""#,
        ] {
            assert!(outline(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn hostile_text_is_refused(
            changes in proptest::collection::vec((any::<prop::sample::Index>(), "[\\[\\]{}\",:0-9a-zN\\\\\u{e9}]{0,3}"), 1..5),
        ) {
            let mut text = SOUND.to_owned();
            for (at, insert) in changes {
                // The text is ASCII but for what was put in.
                let at = (0..=at.index(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
                let end = (at + 1..=text.len()).find(|&end| text.is_char_boundary(end)).unwrap_or(at);
                text.replace_range(at..end, &insert);
            }
            if let Ok(document) = Document::parse(text) {
                for at in &document.annotations {
                    if let Ok(Annotation { segmentation: Some(segmentation), .. }) = document.entry(at) {
                        let _ = outline(segmentation.get());
                    }
                }
            }
        }
    }
}

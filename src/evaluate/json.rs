//! How COCO files spell labels and results.
//!
//! Fields that the records cannot do without are optional here all the same, so that their absence is
//! reported with the record's place in its list rather than as a column of a one-line file.

use std::fmt;
use std::path::Path;

use intertwine_rle::{Rle, RleError};
use serde::de::{self, DeserializeOwned, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::EvaluateError;

/// A COCO label file.
#[derive(Deserialize)]
pub(super) struct LabelFile {
    pub images: Vec<ImageRecord>,
    pub annotations: Vec<AnnotationRecord>,
    pub categories: Vec<CategoryRecord>,
}

impl LabelFile {
    pub const EXPECTED: &'static str =
        "a COCO label file: {\"images\": [..], \"annotations\": [..], \"categories\": [..]}";
}

#[derive(Deserialize)]
pub(super) struct ImageRecord {
    pub id: Option<u64>,
    pub width: Option<u32>,
    pub height: Option<u32>,
}

#[derive(Deserialize)]
pub(super) struct CategoryRecord {
    pub id: Option<u32>,
    pub name: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct AnnotationRecord {
    pub id: Option<u64>,
    pub image_id: Option<u64>,
    pub category_id: Option<u32>,
    pub bbox: Option<Vec<f64>>,
    pub area: Option<f64>,
    #[serde(default, deserialize_with = "flag")]
    pub iscrowd: bool,
    pub segmentation: Option<Segmentation>,
}

#[derive(Deserialize)]
pub(super) struct ResultRecord {
    pub image_id: Option<u64>,
    pub category_id: Option<u32>,
    pub bbox: Option<Vec<f64>>,
    pub score: Option<f64>,
    pub segmentation: Option<Segmentation>,
}

impl ResultRecord {
    pub const EXPECTED: &'static str =
        "a COCO results file: [{\"image_id\": .., \"category_id\": .., \"bbox\": [x, y, width, height], \"score\": ..}, ..]";
}

/// A mask in one of COCO's three forms.
pub(super) enum Segmentation {
    /// Polygons, in pixels of the picture.
    Polygons(Vec<Vec<f64>>),
    /// Runs with the (height, width) they belong to.
    Runs([u32; 2], Vec<u32>),
    /// Compressed runs with the (height, width) they belong to.
    Compressed([u32; 2], String),
}

impl Segmentation {
    /// Without any polygon there is no mask, and programs that know only boxes write it so.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Polygons(polygons) if polygons.is_empty())
    }

    /// The mask; `(height, width)` is the picture's, which polygons do not carry.
    pub fn into_rle(self, (height, width): (u32, u32)) -> Result<Rle, RleError> {
        match self {
            Self::Polygons(polygons) => Rle::from_polygons(&polygons, height, width),
            Self::Runs([height, width], counts) => Rle::from_counts(height, width, counts),
            Self::Compressed([height, width], counts) => Rle::from_string(height, width, &counts),
        }
    }
}

// By hand rather than `untagged`, which would hold every number twice and call each mistake
// "did not match any variant".
impl<'de> Deserialize<'de> for Segmentation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Mask;
        impl<'de> Visitor<'de> for Mask {
            type Value = Segmentation;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of polygons or {\"size\": [height, width], \"counts\": ..}")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut polygons = Vec::new();
                while let Some(polygon) = list.next_element()? {
                    polygons.push(polygon);
                }
                Ok(Segmentation::Polygons(polygons))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                #[derive(Deserialize)]
                struct Runs {
                    size: [u32; 2],
                    counts: Counts,
                }
                let runs = Runs::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(match runs.counts {
                    Counts::Runs(counts) => Segmentation::Runs(runs.size, counts),
                    Counts::Compressed(counts) => Segmentation::Compressed(runs.size, counts),
                })
            }
        }
        deserializer.deserialize_any(Mask)
    }
}

enum Counts {
    Runs(Vec<u32>),
    Compressed(String),
}

impl<'de> Deserialize<'de> for Counts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Counts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of run lengths or COCO's compressed string")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut runs = Vec::new();
                while let Some(run) = list.next_element()? {
                    runs.push(run);
                }
                Ok(Counts::Runs(runs))
            }

            fn visit_str<E: de::Error>(self, counts: &str) -> Result<Self::Value, E> {
                Ok(Counts::Compressed(counts.to_owned()))
            }

            fn visit_string<E: de::Error>(self, counts: String) -> Result<Self::Value, E> {
                Ok(Counts::Compressed(counts))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// COCO writes 0 and 1, other programs `false` and `true`.
fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    struct Flag;
    impl Visitor<'_> for Flag {
        type Value = bool;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("0 or 1")
        }

        // As if it were not there.
        fn visit_unit<E: de::Error>(self) -> Result<bool, E> {
            Ok(false)
        }

        fn visit_bool<E: de::Error>(self, value: bool) -> Result<bool, E> {
            Ok(value)
        }

        fn visit_u64<E: de::Error>(self, value: u64) -> Result<bool, E> {
            match value {
                0 => Ok(false),
                1 => Ok(true),
                _ => Err(E::invalid_value(de::Unexpected::Unsigned(value), &self)),
            }
        }
    }
    deserializer.deserialize_any(Flag)
}

/// Reads a JSON file. `expected` says what such a file is made of.
pub(super) fn read<T: DeserializeOwned>(
    path: &Path,
    expected: &'static str,
) -> Result<T, EvaluateError> {
    let bytes = std::fs::read(path).map_err(|source| EvaluateError::Read {
        path: path.into(),
        source,
    })?;
    serde_json::from_slice(&bytes).map_err(|error| {
        // Keeping track of the place costs time, so it is done for files known to be wrong.
        let mut json = serde_json::Deserializer::from_slice(&bytes);
        let (at, source) = match serde_path_to_error::deserialize::<_, T>(&mut json) {
            Err(error) => (error.path().to_string(), error.into_inner()),
            Ok(_) => (".".into(), error), // Something follows the end of the JSON.
        };
        EvaluateError::Json {
            path: path.into(),
            at,
            source,
            expected,
        }
    })
}

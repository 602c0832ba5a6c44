//! The model card: everything an exported model must say about itself so that it can be run without
//! the program that trained it. It travels as JSON inside the ONNX file.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::CardError;

/// Key of the card in the model's `metadata_props`.
pub const METADATA_KEY: &str = "intertwine.model_card";

/// The card format this program writes and the newest it reads.
pub const FORMAT_VERSION: u32 = 1;

/// The largest input side accepted, pixels. Above it the input tensor alone takes 200 MB, so a larger
/// number is a damaged card rather than a model.
pub const MAX_INPUT_SIZE: u32 = 4096;

/// A category the model knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Class {
    /// The category's id in the data the model was trained on (COCO's `category_id`).
    pub id: u32,
    /// Its name, as shown to people.
    pub name: String,
}

/// How the model encodes masks: prototypes and coefficients, as in YOLACT (Bolya et al. 2019, section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaskCard {
    /// Number of prototypes, P.
    pub prototypes: usize,
    /// Side of a prototype cell in input pixels: the prototypes are `input_size / stride` cells wide.
    pub stride: u32,
}

/// What a model needs to be run: preprocessing, class names, thresholds, output layout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelCard {
    /// Version of this format, [`FORMAT_VERSION`].
    pub format_version: u32,
    /// Side of the square input, pixels.
    pub input_size: u32,
    /// Mean of each channel (red, green, blue), subtracted from values in 0..1.
    pub mean: [f32; 3],
    /// Standard deviation of each channel, by which the difference is divided.
    pub std: [f32; 3],
    /// Colour of the padding right of and below the picture.
    pub pad_value: [u8; 3],
    /// The categories, in the order of the score columns.
    pub classes: Vec<Class>,
    /// Lowest score worth keeping when the result is measured (0..=1).
    #[serde(default = "default_score_threshold")]
    pub score_threshold: f32,
    /// Lowest score worth showing to people (0..=1).
    #[serde(default = "default_display_threshold")]
    pub display_threshold: f32,
    /// Intersection over union above which the weaker of two boxes of one class is dropped (0..=1).
    #[serde(default = "default_nms_iou")]
    pub nms_iou: f32,
    /// Most detections kept in a picture.
    #[serde(default = "default_max_detections")]
    pub max_detections: usize,
    /// Most candidates that enter non-maximum suppression.
    #[serde(default = "default_pre_nms")]
    pub pre_nms: usize,
    /// How masks are encoded; none for a model of boxes only.
    #[serde(default)]
    pub masks: Option<MaskCard>,
    /// Strides of the feature levels the anchor points come from, pixels.
    #[serde(default)]
    pub strides: Vec<u32>,
    /// Where the model comes from (run, precision, average precision): for people, not for the program.
    #[serde(default)]
    pub training: BTreeMap<String, serde_json::Value>,
}

fn default_score_threshold() -> f32 {
    0.05
}
fn default_display_threshold() -> f32 {
    0.3
}
fn default_nms_iou() -> f32 {
    0.6
}
fn default_max_detections() -> usize {
    100
}
fn default_pre_nms() -> usize {
    1000
}

impl ModelCard {
    /// A card with ImageNet's mean and standard deviation, grey padding and default thresholds.
    pub fn new(input_size: u32, classes: Vec<Class>) -> Self {
        Self {
            format_version: FORMAT_VERSION,
            input_size,
            mean: [0.485, 0.456, 0.406],
            std: [0.229, 0.224, 0.225],
            pad_value: [114; 3],
            classes,
            score_threshold: default_score_threshold(),
            display_threshold: default_display_threshold(),
            nms_iou: default_nms_iou(),
            max_detections: default_max_detections(),
            pre_nms: default_pre_nms(),
            masks: None,
            strides: Vec::new(),
            training: BTreeMap::new(),
        }
    }

    /// Reads and checks a card.
    ///
    /// # Errors
    /// Text that is not JSON, a missing key, a wrong type, a newer format, a value out of range.
    pub fn from_json(json: &str) -> Result<Self, CardError> {
        // The version first: a newer card may have other keys, and "update" is the better advice then.
        #[derive(Deserialize)]
        struct Version {
            format_version: u32,
        }
        let Version { format_version } = serde_json::from_str(json)?;
        if format_version == 0 || format_version > FORMAT_VERSION {
            return Err(CardError::Version(format_version));
        }
        let card: Self = serde_json::from_str(json)?;
        card.validate()?;
        Ok(card)
    }

    /// The card as JSON, for the metadata of a model.
    ///
    /// # Errors
    /// A value out of range: a card that could not be read back is not written either.
    pub fn to_json(&self) -> Result<String, CardError> {
        self.validate()?;
        Ok(serde_json::to_string(self)?)
    }

    /// Checks every value against its range.
    ///
    /// # Errors
    /// Names the first key whose value is impossible.
    pub fn validate(&self) -> Result<(), CardError> {
        let probability = |v: f32| (0.0..=1.0).contains(&v);
        check(
            (1..=MAX_INPUT_SIZE).contains(&self.input_size),
            "input_size",
            self.input_size,
            "1 to 4096 pixels",
        )?;
        check(
            self.mean.iter().all(|v| v.is_finite()),
            "mean",
            format!("{:?}", self.mean),
            "three finite numbers",
        )?;
        check(
            self.std.iter().all(|v| v.is_finite() && *v > 0.0),
            "std",
            format!("{:?}", self.std),
            "three numbers above 0",
        )?;
        check(
            !self.classes.is_empty(),
            "classes",
            "empty",
            "at least one class",
        )?;
        check(
            probability(self.score_threshold),
            "score_threshold",
            self.score_threshold,
            "0 to 1",
        )?;
        check(
            probability(self.display_threshold),
            "display_threshold",
            self.display_threshold,
            "0 to 1",
        )?;
        check(probability(self.nms_iou), "nms_iou", self.nms_iou, "0 to 1")?;
        check(
            self.max_detections > 0,
            "max_detections",
            self.max_detections,
            "at least 1",
        )?;
        check(self.pre_nms > 0, "pre_nms", self.pre_nms, "at least 1")?;
        check(
            self.strides.iter().all(|s| *s > 0),
            "strides",
            format!("{:?}", self.strides),
            "pixels above 0",
        )?;
        if let Some(masks) = self.masks {
            check(
                masks.prototypes > 0,
                "masks.prototypes",
                masks.prototypes,
                "at least 1",
            )?;
            check(
                masks.stride > 0 && self.input_size.is_multiple_of(masks.stride),
                "masks.stride",
                masks.stride,
                "a divisor of input_size",
            )?;
        }
        Ok(())
    }

    /// Side of the mask prototypes in cells, when the model has masks.
    pub fn prototype_side(&self) -> Option<usize> {
        self.masks.map(|m| (self.input_size / m.stride) as usize)
    }
}

fn check(
    valid: bool,
    key: &'static str,
    found: impl ToString,
    expected: &'static str,
) -> Result<(), CardError> {
    if valid {
        return Ok(());
    }
    Err(CardError::Value {
        key,
        found: found.to_string(),
        expected,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card() -> ModelCard {
        ModelCard::new(
            64,
            vec![Class {
                id: 7,
                name: "cat".into(),
            }],
        )
    }

    #[test]
    fn absent_optional_keys_take_their_defaults() {
        let json = r#"{"format_version": 1, "input_size": 64, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5],
            "pad_value": [1, 2, 3], "classes": [{"id": 7, "name": "cat"}], "later_key": true}"#;
        let read = ModelCard::from_json(json).unwrap();
        assert_eq!(
            (
                read.score_threshold,
                read.display_threshold,
                read.nms_iou,
                read.max_detections,
                read.pre_nms
            ),
            (0.05, 0.3, 0.6, 100, 1000)
        );
        assert_eq!(read.masks, None);
    }

    #[test]
    fn survives_a_round_trip() {
        let mut card = card();
        card.masks = Some(MaskCard {
            prototypes: 8,
            stride: 4,
        });
        card.strides = vec![8, 16, 32];
        card.training.insert("ap".into(), serde_json::json!(0.41));
        assert_eq!(
            ModelCard::from_json(&card.to_json().unwrap()).unwrap(),
            card
        );
    }

    #[test]
    fn errors_name_the_key() {
        type Damage = fn(&mut ModelCard);
        let broken: [(&str, Damage); 8] = [
            ("input_size", |c| c.input_size = 0),
            ("input_size", |c| c.input_size = 1 << 20),
            ("std", |c| c.std[1] = 0.0),
            ("mean", |c| c.mean[2] = f32::NAN),
            ("classes", |c| c.classes.clear()),
            ("nms_iou", |c| c.nms_iou = 1.5),
            ("max_detections", |c| c.max_detections = 0),
            ("masks.stride", |c| {
                c.masks = Some(MaskCard {
                    prototypes: 8,
                    stride: 5,
                })
            }),
        ];
        for (key, damage) in broken {
            let mut card = card();
            damage(&mut card);
            let error = card.to_json().unwrap_err().to_string();
            assert!(error.contains(&format!("`{key}`")), "{error}");
        }
    }

    #[test]
    fn a_newer_format_is_told_apart_from_a_broken_card() {
        assert!(matches!(
            ModelCard::from_json(r#"{"format_version": 2}"#),
            Err(CardError::Version(2))
        ));
        assert!(matches!(ModelCard::from_json("{"), Err(CardError::Json(_))));
        let missing = ModelCard::from_json(r#"{"format_version": 1}"#)
            .unwrap_err()
            .to_string();
        assert!(missing.contains("input_size"), "{missing}");
    }
}

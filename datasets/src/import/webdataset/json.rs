//! The `json` of a sample: its size and its objects in COCO's words. Any other contents mean nothing here.

use serde::Deserialize;
use serde_json::value::RawValue;

/// What is to be known of a sample's `json` before its pictures are packed.
#[derive(Debug, Default)]
pub(in crate::import) struct Annotations {
    pub image_id: Option<u64>,
    /// The id of each annotation, if it has one.
    pub ids: Vec<Option<u64>>,
    /// Id of the categories that occur, and name where it is stated.
    pub categories: Vec<(u32, Option<String>)>,
    has_size: bool,
}

impl Annotations {
    /// Whether the text is needed again.
    pub(super) fn is_of_use(&self) -> bool {
        self.has_size || !self.ids.is_empty()
    }
}

/// The keys that are of use.
#[derive(Default, Deserialize)]
pub(crate) struct Contents<'a> {
    image_id: Option<u64>,
    width: Option<f64>,
    height: Option<f64>,
    /// Each in COCO's words, and its category's name as `category`.
    #[serde(borrow, default)]
    pub annotations: Vec<&'a RawValue>,
}

impl<'a> Contents<'a> {
    pub(crate) fn parse(text: &'a [u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(text).map_err(|error| error.to_string())?;
        // Only our own form has the list; whatever else a `json` holds is no concern of ours.
        #[derive(Deserialize)]
        struct Head {
            annotations: Option<serde::de::IgnoredAny>,
        }
        match serde_json::from_str::<Head>(text) {
            Ok(Head {
                annotations: Some(_),
            }) => serde_json::from_str(text).map_err(|error| error.to_string()),
            Ok(Head { annotations: None }) => Ok(Self::default()),
            Err(error) if error.is_data() => Ok(Self::default()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// (width, height) as they are stated.
    pub(super) fn size(&self) -> Option<(u32, u32)> {
        let (width, height) = (self.width? as u32, self.height? as u32);
        (width > 0 && height > 0).then_some((width, height))
    }
}

/// Reads what is needed of all samples together.
pub(in crate::import) fn survey(text: &[u8]) -> Result<Annotations, String> {
    #[derive(Deserialize)]
    struct Named {
        category_id: u32,
        category: Option<String>,
    }
    let contents = Contents::parse(text)?;
    let mut categories = Vec::new();
    for named in contents
        .annotations
        .iter()
        .filter_map(|text| serde_json::from_str::<Named>(text.get()).ok())
    {
        let entry = (named.category_id, named.category);
        if !categories.contains(&entry) {
            categories.push(entry);
        }
    }
    Ok(Annotations {
        image_id: contents.image_id,
        ids: contents.annotations.iter().map(|text| id(text)).collect(),
        categories,
        has_size: contents.size().is_some(),
    })
}

/// The id of an annotation, if it has one.
pub(super) fn id(annotation: &RawValue) -> Option<u64> {
    #[derive(Deserialize)]
    struct Head {
        id: Option<u64>,
    }
    serde_json::from_str::<Head>(annotation.get()).ok()?.id
}

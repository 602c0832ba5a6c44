//! What one record holds: a picture, what is in it, and where it came from.

use image::RgbImage;
use intertwine_rle::Rle;

/// A class of object as the label file names it.
///
/// Inside the code a category is its position in [`crate::PackedSet::categories`], `0..C` without gaps;
/// the source's own id (COCO's run from 1 to 90 with gaps) appears only here, at the border.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Category {
    /// The id in the label file.
    pub id: u32,
    /// The name people read.
    pub name: String,
}

impl Category {
    /// Which of another set's is meant: the one of the same id and name, else the only one of the same name.
    ///
    /// Ids alone do not tell: two label files of one project may number the same classes in different ways.
    pub fn among(&self, others: &[Self]) -> Namesake {
        if let Some(place) = others.iter().position(|other| other == self) {
            return Namesake::One(place);
        }
        let mut named = (0..others.len()).filter(|&place| others[place].name == self.name);
        match (named.next(), named.next()) {
            (None, _) => Namesake::None,
            (Some(place), None) => Namesake::One(place),
            (Some(_), Some(_)) => Namesake::Several,
        }
    }
}

/// What [`Category::among`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Namesake {
    /// The one at this place.
    One(usize),
    /// None has its name.
    None,
    /// Several have its name, and none of them its id.
    Several,
}

/// One labelled object of a picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Instance {
    /// The annotation's id in the label file.
    pub id: u64,
    /// Index into the set's categories, `0..C`.
    pub category: u32,
    /// `[x, y, width, height]` in pixels of the stored picture, within its border, width and height > 0.
    pub bbox: [f32; 4],
    /// Area in square pixels of the stored picture: the label file's, scaled with the picture. Where
    /// the label file has none, the mask's, or else the box's.
    pub area: f32,
    /// A region of many objects that were not told apart; COCO's `iscrowd`.
    pub crowd: bool,
    /// The pixels that belong to the object; the mask has the size of the stored picture.
    pub mask: Option<Rle>,
}

/// What a record says about its picture besides the pixels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordInfo {
    /// The picture's id in the label file, or its position in the sorted list of a plain folder.
    pub image_id: u64,
    /// Path relative to the picture folder, with `/` between its parts.
    pub source: String,
    /// (width, height) in pixels before packing resized it, after the EXIF rotation.
    pub original_size: (u32, u32),
    /// Class of the whole picture, an index into [`crate::PackedSet::labels`].
    pub label: Option<u32>,
}

/// A record, decoded.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The picture, 8-bit sRGB as stored in the file (colour profiles are not applied).
    pub image: RgbImage,
    /// The labelled objects, in the order of the label file.
    pub instances: Vec<Instance>,
    /// Where the picture came from.
    pub info: RecordInfo,
}

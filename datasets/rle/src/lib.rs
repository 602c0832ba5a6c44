//! COCO run-length masks: encode, decode, string form, area, box, IoU, merge, polygons.

/// A binary mask as COCO stores it: runs of equal pixels in column-major order, the first run being
/// zeros (and possibly empty). The runs always add up to `height * width`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rle {
    height: u32,
    width: u32,
    counts: Vec<u32>,
}

/// Why a mask could not be read.
#[derive(Clone, Debug, PartialEq)]
pub struct RleError(pub String);

impl Rle {
    /// From runs; an error if they do not add up to `height * width`.
    pub fn from_counts(_height: u32, _width: u32, _counts: Vec<u32>) -> Result<Self, RleError> {
        todo!()
    }
    /// From COCO's compressed string form.
    pub fn from_string(_height: u32, _width: u32, _s: &str) -> Result<Self, RleError> {
        todo!()
    }
    /// COCO's compressed string form.
    pub fn to_coco_string(&self) -> String {
        todo!()
    }
    /// From a row-major bitmap of `height * width` bytes, non-zero meaning inside.
    pub fn encode(_mask: &[u8], _height: u32, _width: u32) -> Self {
        todo!()
    }
    /// To a row-major bitmap of zeros and ones.
    pub fn decode(&self) -> Vec<u8> {
        todo!()
    }
    /// Rasterises polygons (each `[x0, y0, x1, y1, ..]` in pixels) as pycocotools does and unites them.
    pub fn from_polygons(_polygons: &[Vec<f64>], _height: u32, _width: u32) -> Result<Self, RleError> {
        todo!()
    }
    /// Number of pixels inside.
    pub fn area(&self) -> u64 {
        todo!()
    }
    /// Bounding box `[x, y, w, h]` in pixels, zeros when empty.
    pub fn bbox(&self) -> [f64; 4] {
        todo!()
    }
    /// Union of masks of one size.
    pub fn union(_masks: &[&Rle]) -> Option<Self> {
        todo!()
    }
    /// Intersection over union; with `crowd`, over the area of `self` alone, as COCO does for crowd regions.
    pub fn iou(&self, _ground_truth: &Rle, _crowd: bool) -> f64 {
        todo!()
    }
    /// (height, width) in pixels.
    pub fn size(&self) -> (u32, u32) {
        (self.height, self.width)
    }
    /// The runs.
    pub fn counts(&self) -> &[u32] {
        &self.counts
    }
}

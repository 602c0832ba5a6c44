//! COCO run-length masks: encode, decode, string form, area, box, IoU, union, polygons.
//!
//! A mask of a picture is stored as alternating runs of pixels outside and inside, counted down the
//! columns: [`Rle`]. The crate reads and writes the three forms in which COCO files carry it, bit for
//! bit as `pycocotools` does: lists of runs ([`Rle::from_counts`]), strings ([`Rle::from_string`]) and
//! polygons ([`Rle::from_polygons`]). What comes from a file is untrusted: whatever does not describe a
//! mask of the stated size is an [`RleError`], found before memory is taken in proportion to a claim.
//!
//! # Layout
//! - `rle.rs`: the mask itself: construction, bitmaps, area, box.
//! - `overlap.rs`: what needs several masks: union, intersection, IoU.
//! - `string.rs`: COCO's compressed string.
//! - `polygon.rs`: COCO's rasterisation of polygons.
//! - `resample.rs`: resizing.
//!
//! The format's source is the COCO API (<https://github.com/cocodataset/cocoapi>, `maskApi.h`).

mod error;
mod overlap;
mod polygon;
mod resample;
mod rle;
mod string;

pub use error::RleError;
pub use rle::Rle;

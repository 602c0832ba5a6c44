//! The position encoding as a vector field over the picture (paper, section 3.1).
//!
//! Position is not a property of a grid cell but of a place in the picture: a field with a vector at
//! every point is laid over the picture, and whatever crops, resizes or mirrors the picture does the
//! same to the field. A patch reads the field at its centre. The picture itself may lie anywhere in
//! the field, at any size ([`Window`]), so that no place of the field means "the left edge".
//!
//! Three frames follow one another, each the unit square `[0, 1]^2` with y pointing down:
//! the *view* (what the network sees), the *picture*, and the *field*.
//! [`Geometry`] carries points from the first to the last.
//!
//! # Layout
//! - `geometry`: the frames and the maps between them
//! - `located`: pixels that cannot be cropped without their geometry
//! - `overlap`, `resample`: boxes that reach beyond a picture; resizing a part of a mask
//! - `taps`: reading a field at points, and the transpose of that
//! - `sincos`: the fixed sine-cosine encoding, also the learned field's initial value

mod geometry;
mod located;
mod overlap;
mod resample;
pub mod sincos;
mod taps;

pub use geometry::{Geometry, Grid, Rect, Window};
pub use intertwine_kernels::resize::Filter;
pub use located::{
    Canvas, CropError, Located, Normalisation, Patches, PixelBox, Region, Resampler, View,
};
pub(crate) use resample::resample_mask;
pub use taps::{accumulate, sample, taps, Taps};

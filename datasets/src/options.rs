//! How a source is to be packed.

use crate::error::{DatasetError, Result};
use crate::pixels::{Encoding, MAX_SIDE};

/// To what size pictures are brought. A picture is only ever made smaller, keeping its shape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resize {
    /// As they came.
    #[default]
    Keep,
    /// The shorter side becomes at most this many pixels. What pretraining wants: 256 for crops of 224.
    MinSide(u32),
    /// The longer side becomes at most this many pixels.
    MaxSide(u32),
}

impl Resize {
    /// The size a picture of `width x height` gets, each side at least 1.
    pub fn target(self, width: u32, height: u32) -> (u32, u32) {
        let (wanted, side) = match self {
            Self::Keep => return (width, height),
            Self::MinSide(wanted) => (wanted, width.min(height)),
            Self::MaxSide(wanted) => (wanted, width.max(height)),
        };
        if side <= wanted {
            return (width, height);
        }
        // To the nearest pixel in whole numbers: (2 a b + c) / 2c is a b / c, rounded.
        let scale = |v: u32| {
            (2 * u64::from(v) * u64::from(wanted) + u64::from(side)) / (2 * u64::from(side))
        };
        (scale(width).max(1) as u32, scale(height).max(1) as u32)
    }
}

/// What to do about a packed set that is already at the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Existing {
    /// Leave it alone: packing ends with an error.
    #[default]
    Refuse,
    /// Replace it, once the new one is complete.
    Replace,
    /// Add to it, as new shards; there must be one, packed with the same options.
    Append,
}

/// The options of [`crate::pack`]. The defaults keep every pixel.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackOptions {
    /// To what size pictures are brought.
    pub resize: Resize,
    /// How pixels are stored.
    pub encoding: Encoding,
    /// Quality from 1 to 100 where a JPEG has to be compressed anew.
    pub jpeg_quality: u8,
    /// Pictures with a side below this many pixels are put into quarantine, before any resizing.
    pub smallest_side: u32,
    /// A shard is closed when it has this many bytes.
    pub shard_bytes: u64,
    /// What to do about a packed set that is already there. Not part of what the set is, so not in the manifest.
    #[serde(skip)]
    pub existing: Existing,
}

impl Default for PackOptions {
    fn default() -> Self {
        Self {
            resize: Resize::Keep,
            encoding: Encoding::Zpix,
            jpeg_quality: 90,
            smallest_side: 8,
            shard_bytes: 256 << 20,
            existing: Existing::Refuse,
        }
    }
}

impl PackOptions {
    /// Checks the ranges.
    pub(crate) fn validate(&self) -> Result<()> {
        let check = |key, found: u64, range: std::ops::RangeInclusive<u64>, expected| match range
            .contains(&found)
        {
            true => Ok(()),
            false => Err(DatasetError::Option {
                key,
                found: found.to_string(),
                expected,
            }),
        };
        if let Resize::MinSide(side) | Resize::MaxSide(side) = self.resize {
            let key = if matches!(self.resize, Resize::MinSide(_)) {
                "min-side"
            } else {
                "max-side"
            };
            check(
                key,
                side.into(),
                1..=MAX_SIDE.into(),
                "expected 1 to 65535 pixels",
            )?;
        }
        check(
            "jpeg-quality",
            self.jpeg_quality.into(),
            1..=100,
            "expected 1 to 100",
        )?;
        check(
            "smallest-side",
            self.smallest_side.into(),
            1..=MAX_SIDE.into(),
            "expected 1 to 65535 pixels",
        )?;
        check(
            "shard-bytes",
            self.shard_bytes,
            1 << 12..=1 << 40,
            "expected 4 KiB to 1 TiB",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::Resize;

    #[test]
    fn sizes() {
        for (resize, from, to) in [
            (Resize::Keep, (5, 7), (5, 7)),
            (Resize::MinSide(256), (500, 375), (341, 256)), // 341.33
            (Resize::MinSide(256), (375, 500), (256, 341)),
            (Resize::MinSide(256), (255, 4000), (255, 4000)),
            (Resize::MaxSide(128), (300, 200), (128, 85)), // 85.33
            (Resize::MaxSide(128), (128, 2), (128, 2)),
            (Resize::MaxSide(10), (65_535, 2), (10, 1)),
            (Resize::MaxSide(3), (4, 2), (3, 2)), // 1.5 up
        ] {
            assert_eq!(resize.target(from.0, from.1), to, "{resize:?} of {from:?}");
        }
    }
}

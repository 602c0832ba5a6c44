//! VOC's object masks: one picture whose palette entries number the objects.

use std::path::Path;

use intertwine_rle::Rle;

use super::super::read_file;
use crate::prepare::decode_anything;
use crate::quarantine::{Quarantined, Reason, Subject};

/// The masks of `SegmentationObject`: pixels of palette entry `k` belong to the `k`-th object, entry 255 is
/// the border between objects.
pub(super) fn object_masks(
    path: &Path,
    objects: usize,
    refused: &mut Vec<Quarantined>,
) -> Vec<Option<Rle>> {
    let decoded = read_file(path)
        .map_err(|error| error.to_string())
        .and_then(|bytes| decode_anything(&bytes).map_err(|error| error.to_string()));
    let indices = decoded.and_then(|decoded| {
        let size = decoded.image.dimensions();
        let indices = decoded.image.pixels().map(|pixel| palette_index(pixel.0));
        let indices = indices.collect::<Option<Vec<u8>>>();
        let indices = indices.ok_or("a colour that is not of VOC's palette")?;
        Ok((size, indices))
    });
    let ((width, height), indices) = match indices {
        Ok(found) => found,
        Err(detail) => {
            let detail = format!("masks dropped: `{}`: {detail}", path.display());
            let entry = Quarantined::new(Subject::Picture, Reason::MaskInvalid, detail);
            refused.push(Quarantined {
                kept: true,
                ..entry
            });
            return Vec::new();
        }
    };
    let mut present = [false; 256];
    indices
        .iter()
        .for_each(|&index| present[usize::from(index)] = true);
    if let Some(beyond) = (objects + 1..255).find(|&index| present[index]) {
        let detail = format!(
            "`{}` has a mask of object {beyond}, there are {objects}",
            path.display()
        );
        let entry = Quarantined::new(Subject::Picture, Reason::MaskInvalid, detail);
        refused.push(Quarantined {
            kept: true,
            ..entry
        });
    }
    let mask = |object: usize| {
        let wanted = u8::try_from(object).ok().filter(|&index| index < 255)?;
        let bitmap: Vec<u8> = indices
            .iter()
            .map(|&index| u8::from(index == wanted))
            .collect();
        present[object].then(|| Rle::encode(&bitmap, height, width))
    };
    (1..=objects).map(mask).collect()
}

/// The entry of a colour of VOC's palette, whose bits are dealt out to red, green and blue in turn, the lowest
/// to the highest bit (`VOCcolormap.m` of the development kit).
fn palette_index(rgb: [u8; 3]) -> Option<u8> {
    let mut index = 0u8;
    let mut rest = rgb;
    for bit in 0..8 {
        let (channel, shift) = (bit % 3, 7 - bit / 3);
        index |= (rgb[channel] >> shift & 1) << bit;
        rest[channel] &= !(1 << shift);
    }
    (rest == [0; 3]).then_some(index)
}

#[cfg(test)]
mod tests {
    use super::palette_index;

    #[test]
    fn colours_of_the_palette() {
        // As the development kit lists them: background, aeroplane, tv monitor, border.
        for (rgb, index) in [
            ([0, 0, 0], Some(0)),
            ([128, 0, 0], Some(1)),
            ([0, 64, 128], Some(20)),
            ([224, 224, 192], Some(255)),
            ([1, 0, 0], None),
        ] {
            assert_eq!(palette_index(rgb), index, "{rgb:?}");
        }
    }
}

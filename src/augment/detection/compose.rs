//! New labelled pictures out of several: mosaic and copy-paste.
//!
//! Both happen before a picture is scaled, and move whole pixels only, so boxes and masks are exact.
//!
//! Positions: what is composed is a picture of its own, and it is this picture that lies in the field. The
//! place that a tile or a pasted object had in its own photograph is lost, as it must be: the field says where
//! a patch lies in what the network is shown.

use super::Object;
use image::{GenericImage, Rgb, RgbImage};
use intertwine_flow::random::ChaCha8Rng;
use intertwine_rle::Rle;
use rand::RngExt;

/// A picture and what is to be found in it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Labelled {
    /// The pixels.
    pub image: RgbImage,
    /// Their masks have the picture's size.
    pub objects: Vec<Object>,
}

impl Labelled {
    /// Four pictures (upper left, upper right, lower left, lower right) that meet in one point, each as large as
    /// it was (Bochkovskiy et al., 2020); where a picture is smaller than its neighbours there is padding.
    /// Nothing is cut off: scaling and cropping come later, as for any picture.
    pub fn mosaic(tiles: [&Labelled; 4], padding: [u8; 3]) -> Labelled {
        let [a, b, c, d] = tiles.map(|tile| tile.image.dimensions());
        let (centre_x, centre_y) = (a.0.max(c.0), a.1.max(b.1));
        let (width, height) = (centre_x + b.0.max(d.0), centre_y + c.1.max(d.1));
        let mut mosaic = Labelled {
            image: RgbImage::from_pixel(width, height, Rgb(padding)),
            objects: Vec::new(),
        };
        let corners = [
            (centre_x - a.0, centre_y - a.1),
            (centre_x, centre_y - b.1),
            (centre_x - c.0, centre_y),
            (centre_x, centre_y),
        ];
        for (tile, (x, y)) in tiles.into_iter().zip(corners) {
            mosaic
                .image
                .copy_from(&tile.image, x, y)
                .expect("the mosaic holds its tiles");
            let place = Place {
                x: i64::from(x),
                y: i64::from(y),
                flip: false,
            };
            mosaic.objects.extend(tile.objects.iter().map(|object| {
                let [x0, y0, x1, y1] = object.bbox;
                let (x, y) = (x as f32, y as f32);
                Object {
                    bbox: [x0 + x, y0 + y, x1 + x, y1 + y],
                    class: object.class,
                    mask: object
                        .mask
                        .as_ref()
                        .map(|mask| encode(&place.bitmap(mask, (width, height)), (width, height))),
                }
            }));
        }
        mosaic
    }

    /// Lays objects of another picture over this one, moved and mirrored as `place` says, hard-edged (Ghiasi et
    /// al., 2021, found blended edges no better). `pasted` are those whose mask is known; the others cannot be
    /// cut out. What they hide is hidden from this picture's masks; an object of which nothing remains goes, and a
    /// box whose mask changed becomes that of the mask. Objects without a mask keep their boxes.
    pub(super) fn paste<'a>(
        &mut self,
        image: &RgbImage,
        pasted: impl Iterator<Item = &'a Object>,
        place: Place,
    ) {
        let size = self.image.dimensions();
        let mut hidden = vec![0u8; size.0 as usize * size.1 as usize];
        let mut arrived = Vec::new();
        for object in pasted {
            let Some(mask) = &object.mask else { continue };
            let bitmap = place.bitmap(mask, size);
            hidden.iter_mut().zip(&bitmap).for_each(|(h, b)| *h |= b);
            arrived.extend(from_bitmap(object.class, &bitmap, size));
        }
        self.objects.retain_mut(|object| {
            let Some(mask) = &object.mask else {
                return true;
            };
            let mut bitmap = mask.decode();
            let lost = bitmap.iter().zip(&hidden).any(|(b, h)| b & h == 1);
            if !lost {
                return true;
            }
            bitmap
                .iter_mut()
                .zip(&hidden)
                .for_each(|(b, h)| *b &= 1 - h);
            match from_bitmap(object.class, &bitmap, size) {
                Some(rest) => *object = rest,
                None => return false,
            }
            true
        });
        for (x, y, pixel) in self.image.enumerate_pixels_mut() {
            if hidden[(y * size.0 + x) as usize] == 1 {
                let (x, y) = place.back((x, y), image.width());
                // The masks have their picture's size (`compose` saw to it), so this lies in it.
                *pixel = *image.get_pixel(x as u32, y as u32);
            }
        }
        self.objects.append(&mut arrived);
    }
}

/// Where a picture is laid on another: first mirrored left to right or not, then moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) x: i64,
    pub(super) y: i64,
    pub(super) flip: bool,
}

impl Place {
    /// At most a quarter of its sides beyond where it lies inside, if it fits, or covers, if it does not.
    pub(super) fn draw(onto: (u32, u32), of: (u32, u32), rng: &mut ChaCha8Rng) -> Place {
        let mut along = |onto: u32, of: u32| {
            let (free, quarter) = (i64::from(onto) - i64::from(of), i64::from(of / 4));
            rng.random_range(free.min(0) - quarter..=free.max(0) + quarter)
        };
        let (x, y) = (along(onto.0, of.0), along(onto.1, of.1));
        Place {
            x,
            y,
            flip: rng.random_bool(0.5),
        }
    }

    /// Where a pixel of the picture that is laid on comes from.
    fn back(self, (x, y): (u32, u32), width: u32) -> (i64, i64) {
        let (x, y) = (i64::from(x) - self.x, i64::from(y) - self.y);
        let x = if self.flip {
            i64::from(width) - 1 - x
        } else {
            x
        };
        (x, y)
    }

    /// A mask laid on a picture of (width, height) pixels: zeros and ones, row by row.
    fn bitmap(self, mask: &Rle, (width, height): (u32, u32)) -> Vec<u8> {
        let (mask_h, mask_w) = mask.size();
        let source = mask.decode();
        let mut bitmap = vec![0; width as usize * height as usize];
        for (i, out) in bitmap.iter_mut().enumerate() {
            let at = ((i % width as usize) as u32, (i / width as usize) as u32);
            let (x, y) = self.back(at, mask_w);
            if (0..i64::from(mask_w)).contains(&x) && (0..i64::from(mask_h)).contains(&y) {
                *out = source[y as usize * mask_w as usize + x as usize];
            }
        }
        bitmap
    }
}

fn encode(bitmap: &[u8], (width, height): (u32, u32)) -> Rle {
    Rle::encode(bitmap, height, width)
}

/// The object that a bitmap shows, in the box of its mask; none if it is empty.
fn from_bitmap(class: u32, bitmap: &[u8], size: (u32, u32)) -> Option<Object> {
    let mask = encode(bitmap, size);
    (mask.area() > 0).then(|| {
        let [x, y, w, h] = mask.bbox();
        Object {
            bbox: [x, y, x + w, y + h].map(|v| v as f32),
            class,
            mask: Some(mask),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::rectangle;
    use super::*;

    fn plain(width: u32, height: u32, grey: u8, objects: Vec<Object>) -> Labelled {
        Labelled {
            image: RgbImage::from_pixel(width, height, Rgb([grey; 3])),
            objects,
        }
    }

    /// 4 x 3, 5 x 2, 3 x 4 and 2 x 2 pixels meet at (4, 3) of 9 x 7 pixels.
    #[test]
    fn a_mosaic_by_hand() {
        let tiles = [
            plain(4, 3, 10, vec![rectangle(4, 3, [1, 0, 3, 2])]),
            plain(5, 2, 20, vec![rectangle(5, 2, [0, 0, 5, 1])]),
            plain(3, 4, 30, vec![]),
            plain(2, 2, 40, vec![rectangle(2, 2, [1, 1, 2, 2])]),
        ];
        let mosaic = Labelled::mosaic(tiles.each_ref(), [0; 3]);
        #[rustfmt::skip]
        let expected = [
            10, 10, 10, 10,  0,  0,  0,  0,  0,
            10, 10, 10, 10, 20, 20, 20, 20, 20,
            10, 10, 10, 10, 20, 20, 20, 20, 20,
             0, 30, 30, 30, 40, 40,  0,  0,  0,
             0, 30, 30, 30, 40, 40,  0,  0,  0,
             0, 30, 30, 30,  0,  0,  0,  0,  0,
             0, 30, 30, 30,  0,  0,  0,  0,  0,
        ];
        let found: Vec<u8> = mosaic.image.pixels().map(|p| p.0[0]).collect();
        assert_eq!(mosaic.image.dimensions(), (9, 7));
        assert_eq!(found, expected);
        let corners = [[1, 0, 3, 2], [4, 1, 9, 2], [5, 4, 6, 5]];
        assert_eq!(mosaic.objects, corners.map(|c| rectangle(9, 7, c)));
    }

    /// A 3 x 2 object, whose right half is bright, is mirrored and laid with its left column off the picture.
    #[test]
    fn a_paste_by_hand() {
        let mut from = plain(5, 4, 50, vec![rectangle(5, 4, [1, 1, 4, 3])]);
        from.image.put_pixel(3, 1, Rgb([99; 3]));
        // Mirrored, the object covers columns 1 to 3 and its bright pixel is the left upper one.
        let place = Place {
            x: -2,
            y: 1,
            flip: true,
        };
        let hidden_whole = rectangle(4, 4, [0, 2, 1, 3]);
        let hidden_half = rectangle(4, 4, [1, 2, 3, 3]);
        let untouched = rectangle(4, 4, [0, 0, 4, 1]);
        let without_mask = Object {
            mask: None,
            ..rectangle(4, 4, [0, 1, 2, 4])
        };
        let objects = vec![
            hidden_whole,
            hidden_half,
            untouched.clone(),
            without_mask.clone(),
        ];
        let mut onto = plain(4, 4, 7, objects);
        onto.paste(&from.image, from.objects.iter(), place);
        #[rustfmt::skip]
        let expected = [
             7,  7, 7, 7,
             7,  7, 7, 7,
            50, 50, 7, 7,
            50, 50, 7, 7,
        ];
        let found: Vec<u8> = onto.image.pixels().map(|p| p.0[0]).collect();
        assert_eq!(found, expected);
        let rest = rectangle(4, 4, [2, 2, 3, 3]);
        let pasted = rectangle(4, 4, [0, 2, 2, 4]);
        assert_eq!(onto.objects, [rest, untouched, without_mask, pasted]);
    }

    #[test]
    fn an_object_pasted_beside_the_picture_is_not_there() {
        let from = plain(4, 4, 50, vec![rectangle(4, 4, [0, 0, 2, 2])]);
        let mut onto = plain(4, 4, 7, vec![]);
        let place = Place {
            x: 3,
            y: 0,
            flip: true,
        };
        onto.paste(&from.image, from.objects.iter(), place);
        assert_eq!(onto, plain(4, 4, 7, vec![]));
    }

    #[test]
    fn objects_without_masks_are_not_pasted() {
        let object = Object {
            mask: None,
            ..rectangle(4, 4, [0, 0, 2, 2])
        };
        let from = plain(4, 4, 50, vec![object]);
        let mut onto = plain(4, 4, 7, vec![]);
        onto.paste(
            &from.image,
            from.objects.iter(),
            Place {
                x: 0,
                y: 0,
                flip: false,
            },
        );
        assert_eq!(onto, plain(4, 4, 7, vec![]));
    }
}

//! Brings labels to the picture as it is stored: checks, clips and scales them.

use intertwine_rle::Rle;

use crate::quarantine::{Quarantined, Reason, Subject};
use crate::sample::Instance;

/// A box may leave the picture by this many pixels without being listed: labelling tools round outwards.
const OVERHANG: f64 = 1.;

/// A labelled object as an importer read it, of the picture before resizing.
#[derive(Clone, Debug)]
pub struct Label {
    /// The annotation's id in the label file.
    pub id: u64,
    /// Index into the set's categories.
    pub category: u32,
    /// What box and polygons are measured in.
    pub unit: Unit,
    /// `[x, y, width, height]`, unchecked; if absent, the mask's extent is taken.
    pub bbox: Option<Vec<f64>>,
    /// In square pixels; if absent, the mask's, or else the box's.
    pub area: Option<f64>,
    /// A region of many objects that were not told apart.
    pub crowd: bool,
    /// The pixels that belong to the object.
    pub outline: Option<Outline>,
}

/// What the numbers of a label measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Pixels from the picture's top left corner.
    Pixel,
    /// Fractions of the picture's width and height.
    Picture,
}

/// The forms a mask comes in.
#[derive(Clone, Debug)]
pub enum Outline {
    /// `[x0, y0, x1, y1, ..]` each.
    Polygons(Vec<Vec<f64>>),
    /// A mask of the picture's size.
    Mask(Rle),
}

/// The picture's size before and after resizing, (width, height) in pixels.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Of the picture the labels were made for.
    pub original: (u32, u32),
    /// Of the picture that is stored.
    pub stored: (u32, u32),
}

impl Label {
    /// The label in pixels of a picture of this (width, height).
    pub(crate) fn in_pixels(mut self, (width, height): (u32, u32)) -> Self {
        if self.unit == Unit::Picture {
            let size = [f64::from(width), f64::from(height)];
            let scale = |values: &mut Vec<f64>| {
                values
                    .iter_mut()
                    .enumerate()
                    .for_each(|(i, value)| *value *= size[i % 2]);
            };
            self.bbox.iter_mut().for_each(scale);
            if let Some(Outline::Polygons(polygons)) = &mut self.outline {
                polygons.iter_mut().for_each(scale);
            }
            self.area = self.area.map(|area| area * size[0] * size[1]);
            self.unit = Unit::Pixel;
        }
        self
    }
}

/// Checks a label and brings it to the stored picture. What is refused or changed goes to `quarantine`,
/// without the picture's name.
pub fn place(label: Label, sizes: Sizes, quarantine: &mut Vec<Quarantined>) -> Option<Instance> {
    let label = label.in_pixels(sizes.original);
    let mut list = |(reason, detail): Refusal, kept| {
        let entry = Quarantined::new(Subject::Annotation, reason, detail);
        quarantine.push(Quarantined {
            kept,
            annotation_id: Some(label.id),
            ..entry
        });
    };
    let mask = label
        .outline
        .and_then(|outline| match scale_mask(outline, sizes) {
            Ok((mask, note)) => {
                note.into_iter().for_each(|note| list(note, true));
                Some(mask)
            }
            Err(refusal) => {
                list(refusal, true);
                None
            }
        });
    let scale = [sizes.stored.0, sizes.stored.1].map(f64::from);
    let scale = [
        scale[0] / f64::from(sizes.original.0),
        scale[1] / f64::from(sizes.original.1),
    ];
    let bbox = match (&label.bbox, &mask) {
        (Some(values), _) => clip(values, sizes.original).map(|(clipped, note)| {
            note.into_iter().for_each(|note| list(note, true));
            [0, 1, 2, 3].map(|i| clipped[i] * scale[i % 2])
        }),
        (None, Some(mask)) => Ok(mask.bbox()),
        (None, None) => Err((Reason::BoxInvalid, "neither box nor mask".into())),
    };
    let bbox = match bbox {
        // A side can vanish in single precision.
        Ok(bbox) if bbox[2] as f32 > 0. && bbox[3] as f32 > 0. => bbox.map(|v| v as f32),
        Ok(bbox) => {
            list((Reason::BoxEmpty, format!("box {bbox:?}")), false);
            return None;
        }
        Err(refusal) => {
            list(refusal, false);
            return None;
        }
    };
    let stated_area = label
        .area
        .filter(|area| area.is_finite() && *area > 0.)
        .map(|area| area * scale[0] * scale[1]);
    let area = stated_area
        .map(|area| area as f32)
        .filter(|area| area.is_finite());
    let area = area.unwrap_or_else(|| {
        mask.as_ref()
            .map_or(bbox[2] * bbox[3], |mask| mask.area() as f32)
    });
    Some(Instance {
        id: label.id,
        category: label.category,
        bbox,
        area,
        crowd: label.crowd,
        mask,
    })
}

/// A reason and what was found.
type Refusal = (Reason, String);

/// Clips `[x, y, w, h]` to the picture; the second of the pair says what is worth listing.
fn clip(
    values: &[f64],
    (width, height): (u32, u32),
) -> Result<([f64; 4], Option<Refusal>), Refusal> {
    let &[x, y, w, h] = values else {
        return Err((
            Reason::BoxInvalid,
            format!(
                "box of {} numbers, expected [x, y, width, height]",
                values.len()
            ),
        ));
    };
    if !values.iter().all(|v| v.is_finite()) {
        return Err((
            Reason::BoxInvalid,
            format!("box {values:?}, expected finite numbers"),
        ));
    }
    if w <= 0. || h <= 0. {
        return Err((
            Reason::BoxEmpty,
            format!("box {values:?}, expected width and height above 0"),
        ));
    }
    let (width, height) = (f64::from(width), f64::from(height));
    // A box that ends at the border may have been rounded past it by single precision: it stays as it is, so
    // that packing what was exported changes nothing.
    let ends_within = |end: f64, side: f64| end <= side * (1. + f64::from(f32::EPSILON));
    if x >= 0. && y >= 0. && ends_within(x + w, width) && ends_within(y + h, height) {
        return Ok(([x, y, w, h], None));
    }
    let (x0, x1) = (x.clamp(0., width), (x + w).clamp(0., width));
    let (y0, y1) = (y.clamp(0., height), (y + h).clamp(0., height));
    if x1 <= x0 || y1 <= y0 {
        return Err((
            Reason::BoxOutside,
            format!("box {values:?} lies outside of the picture of {width} x {height}"),
        ));
    }
    let clipped = [x0, y0, x1 - x0, y1 - y0];
    let overhang = (x0 - x).max(y0 - y).max(x + w - x1).max(y + h - y1);
    let note = (overhang > OVERHANG).then(|| {
        (
            Reason::BoxClipped,
            format!(
                "box {values:?} leaves the picture of {width} x {height}; clipped to {clipped:?}"
            ),
        )
    });
    Ok((clipped, note))
}

/// The mask at the stored size. `Ok` with a note means that part of the outline was dropped.
fn scale_mask(outline: Outline, sizes: Sizes) -> Result<(Rle, Option<Refusal>), Refusal> {
    let (width, height) = sizes.stored;
    let (mask, note) = match outline {
        Outline::Mask(mask) => {
            let (mask_height, mask_width) = mask.size();
            if (mask_width, mask_height) != sizes.original {
                let (w, h) = sizes.original;
                let detail = format!(
                    "mask dropped: it is {mask_width} x {mask_height}, the picture {w} x {h}"
                );
                return Err((Reason::MaskSize, detail));
            }
            let unchanged = sizes.original == sizes.stored;
            let mask = if unchanged {
                Ok(mask)
            } else {
                mask.resize(height, width)
            };
            (mask, None)
        }
        Outline::Polygons(polygons) => {
            let scale = [
                f64::from(width) / f64::from(sizes.original.0),
                f64::from(height) / f64::from(sizes.original.1),
            ];
            let total = polygons.len();
            // Scaled before they are rasterised, so that the outline stays as exact as the stored size allows.
            let scaled = polygons.into_iter().filter(|p| is_polygon(p));
            let scaled = scaled.map(|p| {
                p.into_iter()
                    .enumerate()
                    .map(|(i, v)| v * scale[i % 2])
                    .collect()
            });
            let scaled: Vec<Vec<f64>> = scaled.collect();
            let bad = total - scaled.len();
            let detail = format!(
                "{bad} of {total} polygons dropped: not three or more pairs of finite numbers"
            );
            if scaled.is_empty() {
                return Err((Reason::MaskInvalid, detail));
            }
            (
                Rle::from_polygons(&scaled, height, width),
                (bad > 0).then_some((Reason::MaskInvalid, detail)),
            )
        }
    };
    let mask = mask.map_err(|e| (Reason::MaskInvalid, format!("mask dropped: {e}")))?;
    if mask.area() == 0 {
        return Err((
            Reason::MaskEmpty,
            format!("mask dropped: no pixel of it is left at {width} x {height}"),
        ));
    }
    Ok((mask, note))
}

fn is_polygon(values: &[f64]) -> bool {
    values.len() >= 6 && values.len().is_multiple_of(2) && values.iter().all(|v| v.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: Sizes = Sizes {
        original: (100, 50),
        stored: (50, 25),
    };

    fn label(bbox: &[f64]) -> Label {
        Label {
            id: 7,
            category: 0,
            unit: Unit::Pixel,
            bbox: Some(bbox.to_vec()),
            area: None,
            crowd: false,
            outline: None,
        }
    }

    fn placed(label: Label) -> (Option<Instance>, Vec<(Reason, bool)>) {
        let mut quarantine = Vec::new();
        let instance = place(label, SIZES, &mut quarantine);
        (
            instance,
            quarantine.into_iter().map(|q| (q.reason, q.kept)).collect(),
        )
    }

    #[test]
    fn boxes_follow_the_picture() {
        let (instance, listed) = placed(Label {
            area: Some(100.),
            ..label(&[10., 20., 30., 10.])
        });
        let instance = instance.unwrap();
        assert_eq!(instance.bbox, [5., 10., 15., 5.]);
        assert_eq!(instance.area, 25.);
        assert_eq!(listed, []);
    }

    #[test]
    fn boxes_are_clipped_and_refused() {
        let kept = |bbox: &[f64]| {
            let (instance, listed) = placed(label(bbox));
            (instance.map(|i| i.bbox), listed)
        };
        assert_eq!(kept(&[-1., 0., 11., 10.]), (Some([0., 0., 5., 5.]), vec![]));
        assert_eq!(
            kept(&[-20., 0., 30., 10.]),
            (Some([0., 0., 5., 5.]), vec![(Reason::BoxClipped, true)])
        );
        assert_eq!(
            kept(&[90., 40., 1e300, 1e300]),
            (Some([45., 20., 5., 5.]), vec![(Reason::BoxClipped, true)])
        );
        for (bbox, reason) in [
            (&[100., 0., 10., 10.][..], Reason::BoxOutside),
            (&[0., -10., 10., 10.], Reason::BoxOutside),
            (&[0., 0., 0., 10.], Reason::BoxEmpty),
            (&[0., 0., 10., -1.], Reason::BoxEmpty),
            (&[0., 0., 1e-60, 10.], Reason::BoxEmpty),
            (&[f64::NAN, 0., 10., 10.], Reason::BoxInvalid),
            (&[0., 0., f64::INFINITY, 10.], Reason::BoxInvalid),
            (&[0., 0., 10.], Reason::BoxInvalid),
        ] {
            assert_eq!(kept(bbox), (None, vec![(reason, false)]), "{bbox:?}");
        }
    }

    #[test]
    fn a_bad_mask_does_not_cost_the_box() {
        let with = |outline| {
            placed(Label {
                outline: Some(outline),
                ..label(&[10., 10., 20., 20.])
            })
        };
        let square = vec![10., 10., 30., 10., 30., 30., 10., 30.];
        let (instance, listed) = with(Outline::Polygons(vec![square.clone()]));
        let mask = instance.unwrap().mask.unwrap();
        assert_eq!(
            (mask.size(), mask.area(), mask.bbox()),
            ((25, 50), 100, [5., 5., 10., 10.])
        );
        assert_eq!(listed, []);

        let (instance, listed) = with(Outline::Polygons(vec![vec![1., 2., 3., 4.], square]));
        assert_eq!(
            (instance.unwrap().mask.unwrap().area(), listed),
            (100, vec![(Reason::MaskInvalid, true)])
        );

        let full = Rle::encode(&[1; 5000], 50, 100);
        let (instance, listed) = with(Outline::Mask(full));
        assert_eq!(
            (instance.unwrap().mask.unwrap().area(), listed),
            (1250, vec![])
        );

        for (outline, reason) in [
            (
                Outline::Polygons(vec![vec![1., 2., 3., 4.]]),
                Reason::MaskInvalid,
            ),
            (
                Outline::Polygons(vec![vec![1., 2., 3., 4., f64::NAN, 9.]]),
                Reason::MaskInvalid,
            ),
            (
                Outline::Polygons(vec![vec![0., 0., 0.1, 0., 0., 0.1]]),
                Reason::MaskEmpty,
            ),
            (
                Outline::Mask(Rle::encode(&[1; 5000], 100, 50)),
                Reason::MaskSize,
            ),
        ] {
            let (instance, listed) = with(outline);
            assert_eq!(
                (instance.unwrap().mask, listed),
                (None, vec![(reason, true)])
            );
        }
    }

    #[test]
    fn a_mask_alone_gives_box_and_area() {
        let mut bitmap = vec![0; 5000];
        for y in 10..20 {
            bitmap[y * 100 + 40..y * 100 + 60].fill(1);
        }
        let outline = Some(Outline::Mask(Rle::encode(&bitmap, 50, 100)));
        let (instance, _) = placed(Label {
            bbox: None,
            outline,
            ..label(&[])
        });
        let instance = instance.unwrap();
        assert_eq!((instance.bbox, instance.area), ([20., 5., 10., 5.], 50.));
    }
}

//! What needs several masks: union, intersection, IoU.

use crate::rle::{pixels, Rle, Runs};

impl Rle {
    /// Union of masks of one size; `None` if there is no mask or the sizes differ.
    pub fn union(masks: &[&Rle]) -> Option<Self> {
        covered(masks, 1)
    }

    /// Pixels in every mask; `None` if there is no mask or the sizes differ.
    pub fn intersection(masks: &[&Rle]) -> Option<Self> {
        covered(masks, masks.len())
    }

    /// Number of pixels inside both masks, without building their intersection. Masks of different
    /// sizes share none.
    pub fn intersection_area(&self, other: &Rle) -> u64 {
        if self.size() != other.size() {
            return 0;
        }
        let (mut left, mut right) = (self.spans(), other.spans());
        let (mut a, mut b) = (left.next(), right.next());
        let mut shared = 0;
        while let (Some((start_a, end_a)), Some((start_b, end_b))) = (a, b) {
            shared += u64::from(end_a.min(end_b).saturating_sub(start_a.max(start_b)));
            if end_a <= end_b {
                a = left.next();
            } else {
                b = right.next();
            }
        }
        shared
    }

    /// Intersection over union in 0..=1; with `crowd`, over the area of `self` alone, as COCO does for
    /// crowd regions, which a detection need not fill. 0 where nothing is shared, so also for masks
    /// that are empty or of different sizes.
    pub fn iou(&self, ground_truth: &Rle, crowd: bool) -> f64 {
        let shared = self.intersection_area(ground_truth);
        if shared == 0 {
            return 0.0;
        }
        let whole = if crowd {
            self.area()
        } else {
            self.area() + ground_truth.area() - shared
        };
        shared as f64 / whole as f64
    }
}

/// The pixels inside at least `depth` of the masks: one sweep over all their runs' ends.
fn covered(masks: &[&Rle], depth: usize) -> Option<Rle> {
    let (height, width) = masks.first()?.size();
    if masks.iter().any(|mask| mask.size() != (height, width)) {
        return None;
    }
    let pixels = pixels(height, width).expect("a mask's size was checked when it was made");

    // (where, whether a run ends there): starts sort before ends, so that runs that touch stay joined.
    let mut ends: Vec<(u32, bool)> = Vec::new();
    for mask in masks {
        ends.extend(
            mask.spans()
                .flat_map(|(start, end)| [(start, false), (end, true)]),
        );
    }
    ends.sort(); // Stable: it takes up the sorted stretches as they are.

    let mut inside = 0;
    let mut since = 0;
    let spans = ends.into_iter().filter_map(|(at, is_end)| {
        if is_end {
            inside -= 1;
            (inside + 1 == depth).then_some((since, at))
        } else {
            inside += 1;
            if inside == depth {
                since = at;
            }
            None
        }
    });
    Some(Runs::from_spans(pixels, spans).into_mask(height, width))
}

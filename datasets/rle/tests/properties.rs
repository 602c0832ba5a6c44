//! What must hold of any mask, against plain bitmaps.

use intertwine_rle::Rle;
use proptest::collection::vec;
use proptest::prelude::*;

/// A row-major bitmap with long and short runs, of sides 0..=40, wider than one band of the encoder
/// now and then.
fn bitmaps() -> impl Strategy<Value = (Vec<u8>, u32, u32)> {
    (0u32..=40, prop_oneof![0u32..=40, 60u32..=140]).prop_flat_map(|(h, w)| {
        let pixels = (h * w) as usize;
        (vec(any::<u8>(), pixels), 0u8..=3, Just((h, w))).prop_map(|(noise, coarse, (h, w))| {
            // Thresholds from "almost all inside" to "almost none", and blocks of 2^coarse pixels.
            let threshold = noise.first().copied().unwrap_or(0);
            let at = |x: u32, y: u32| {
                let (x, y) = (x >> coarse << coarse, y >> coarse << coarse);
                u8::from(noise[(y * w + x) as usize] >= threshold)
            };
            let mask = (0..h)
                .flat_map(|y| (0..w).map(move |x| (x, y)))
                .map(|(x, y)| at(x, y))
                .collect();
            (mask, h, w)
        })
    })
}

/// Two bitmaps of one size.
fn pairs() -> impl Strategy<Value = (Vec<u8>, Vec<u8>, u32, u32)> {
    bitmaps().prop_flat_map(|(a, h, w)| {
        let b = vec(0u8..=1, a.len());
        (Just(a), b, Just(h), Just(w))
    })
}

/// The box of a row-major bitmap, pixel by pixel.
fn box_of(mask: &[u8], w: u32) -> [f64; 4] {
    let inside = || {
        mask.iter()
            .enumerate()
            .filter(|(_, &m)| m != 0)
            .map(|(i, _)| i as u32)
    };
    let (xs, ys) = (|| inside().map(|i| i % w), || inside().map(|i| i / w));
    let (Some(x0), Some(x1), Some(y0), Some(y1)) = (xs().min(), xs().max(), ys().min(), ys().max())
    else {
        return [0.0; 4];
    };
    [x0, y0, x1 - x0 + 1, y1 - y0 + 1].map(f64::from)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bitmap_and_string_round_trip((mask, h, w) in bitmaps()) {
        let rle = Rle::encode(&mask, h, w);
        prop_assert_eq!(rle.decode(), mask.clone());
        prop_assert_eq!(rle.area(), mask.iter().map(|&m| u64::from(m)).sum::<u64>());
        prop_assert_eq!(rle.bbox(), box_of(&mask, w));
        prop_assert_eq!(&Rle::from_string(h, w, &rle.to_coco_string()).unwrap(), &rle);
        prop_assert_eq!(&Rle::from_counts(h, w, rle.counts().to_vec()).unwrap(), &rle);
    }

    #[test]
    fn overlap_is_that_of_the_bitmaps((a, b, h, w) in pairs()) {
        let (left, right) = (Rle::encode(&a, h, w), Rle::encode(&b, h, w));
        let or: Vec<u8> = a.iter().zip(&b).map(|(a, b)| a | b).collect();
        let and: Vec<u8> = a.iter().zip(&b).map(|(a, b)| a & b).collect();
        prop_assert_eq!(Rle::union(&[&left, &right]).unwrap().decode(), or.clone());
        prop_assert_eq!(Rle::intersection(&[&left, &right]).unwrap().decode(), and.clone());

        let count = |m: &[u8]| m.iter().filter(|&&m| m != 0).count();
        prop_assert_eq!(left.intersection_area(&right), count(&and) as u64);
        let ratio = |over: usize| if count(&and) == 0 { 0.0 } else { count(&and) as f64 / over as f64 };
        prop_assert_eq!(left.iou(&right, false), ratio(count(&or)));
        prop_assert_eq!(left.iou(&right, true), ratio(count(&a)));
    }

    #[test]
    fn empty_runs_change_nothing((mask, h, w) in bitmaps(), at in any::<prop::sample::Index>()) {
        let rle = Rle::encode(&mask, h, w);
        let mut counts = rle.counts().to_vec();
        // Any run cut in two by an empty one of the other kind.
        let i = at.index(counts.len());
        let half = counts[i] / 2;
        counts.splice(i..=i, [counts[i] - half, 0, half]);
        prop_assert_eq!(Rle::from_counts(h, w, counts).unwrap(), rle);
    }

    #[test]
    fn resize_takes_the_pixel_under_each_centre(
        (mask, h, w) in bitmaps(), new_h in 0u32..50, new_w in 0u32..50,
    ) {
        let resized = Rle::encode(&mask, h, w).resize(new_h, new_w).unwrap();
        prop_assert_eq!(resized.size(), (new_h, new_w));
        if h > 0 && w > 0 {
            let under = |i: u32, new: u32, old: u32| (2 * i + 1) * old / (2 * new);
            let expected: Vec<u8> = (0..new_h)
                .flat_map(|y| (0..new_w).map(move |x| (x, y)))
                .map(|(x, y)| mask[(under(y, new_h, h) * w + under(x, new_w, w)) as usize])
                .collect();
            prop_assert_eq!(resized.decode(), expected);
        } else {
            prop_assert_eq!(resized.area(), 0);
        }
    }

    #[test]
    fn any_string_is_a_mask_or_an_error(h in 0u32..5, w in 0u32..5, s in "[0-o]{0,12}|\\PC{0,8}") {
        if let Ok(rle) = Rle::from_string(h, w, &s) {
            prop_assert_eq!(rle.decode().len(), (h * w) as usize);
            prop_assert_eq!(&Rle::from_string(h, w, &rle.to_coco_string()).unwrap(), &rle);
        }
    }

    #[test]
    fn any_counts_are_a_mask_or_an_error(
        h in prop_oneof![3 => 0u32..4, 1 => any::<u32>()],
        w in prop_oneof![3 => 0u32..4, 1 => any::<u32>()],
        counts in vec(prop_oneof![3 => 0u32..5, 1 => any::<u32>()], 0..6),
    ) {
        let total: u64 = counts.iter().map(|&c| u64::from(c)).sum();
        let fits = u64::from(h) * u64::from(w) == total && total <= u64::from(u32::MAX);
        prop_assert_eq!(Rle::from_counts(h, w, counts).is_ok(), fits);
    }

    #[test]
    fn any_polygon_is_a_mask_or_an_error(
        h in 0u32..30, w in 0u32..30, polygons in vec(vec(prop_oneof![-9.0..40.0f64, any::<f64>()], 0..12), 0..4),
    ) {
        let whole = |p: &Vec<f64>| p.len() >= 6 && p.len().is_multiple_of(2) && p.iter().all(|v| v.abs() <= 4e8);
        match Rle::from_polygons(&polygons, h, w) {
            Ok(rle) => prop_assert_eq!(rle.decode().len(), (h * w) as usize),
            Err(error) => prop_assert!(!polygons.iter().all(whole), "{}", error),
        }
    }

    #[test]
    fn whole_pixel_boxes_are_exact(h in 1u32..40, w in 1u32..40, corners in [0u32..40, 0..40, 0..40, 0..40]) {
        let [x0, x1] = [corners[0].min(corners[1]).min(w), corners[0].max(corners[1]).min(w)];
        let [y0, y1] = [corners[2].min(corners[3]).min(h), corners[2].max(corners[3]).min(h)];
        let [l, t, r, b] = [x0, y0, x1, y1].map(f64::from);
        let rle = Rle::from_polygons(&[vec![l, t, r, t, r, b, l, b]], h, w).unwrap();
        let expected: Vec<u8> = (0..h)
            .flat_map(|y| (0..w).map(move |x| (x, y)))
            .map(|(x, y)| u8::from((x0..x1).contains(&x) && (y0..y1).contains(&y)))
            .collect();
        prop_assert_eq!(rle.decode(), expected);
    }
}

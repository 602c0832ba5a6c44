use super::*;

/// Repeatable bytes with edges and flat stretches.
fn picture(width: usize, height: usize) -> Vec<u8> {
    let noise = crate::testing::values(3 * width * height, 5);
    let byte = |(i, v): (usize, f32)| {
        let block = (i / 21 + i / (3 * width * 5)) % 3;
        [0, 255, ((v + 1.0) * 127.0) as u8][block]
    };
    noise.into_iter().enumerate().map(byte).collect()
}

fn paths() -> impl Iterator<Item = Path> {
    Path::ALL.into_iter().filter(|p| p.is_supported())
}

/// Up, down, by a lot, of one pixel and of one row, mirrored and not, at the edges of the picture.
const CASES: [(usize, usize, usize, usize, usize, usize); 9] = [
    (0, 0, 61, 47, 24, 48),
    (3, 5, 41, 33, 9, 8),
    (20, 11, 5, 7, 33, 17),
    (60, 46, 1, 1, 20, 3),
    (0, 46, 61, 1, 7, 5),
    (60, 0, 1, 47, 3, 11),
    (10, 10, 16, 16, 16, 16),
    (0, 0, 61, 47, 1, 1),
    (12, 1, 49, 46, 31, 95),
];

#[test]
fn every_path_gives_the_reference_to_half_a_level() {
    let rgb = picture(61, 47);
    for (i, (x, y, width, height, w, h)) in CASES.into_iter().enumerate() {
        let part = Part {
            x,
            y,
            width,
            height,
            flip: i % 2 == 1,
            to: (w, h),
        };
        holds(&rgb, 61, part, 3);
    }
}

/// Pictures of which a vector of bytes covers several rows. Of so few values, more fall next to a half.
#[test]
fn so_it_does_for_narrow_pictures() {
    for width in 1..=11 {
        let rgb = picture(width, 40);
        let part = |x: usize, height: usize, to| Part {
            x,
            y: 40 - height,
            width: width - x,
            height,
            flip: false,
            to,
        };
        holds(&rgb, width, part(0, 40, (5, 21)), 30);
        holds(&rgb, width, part(width / 2, 17, (33, 9)), 30);
    }
}

/// All but `percent` values for 100 pixels are within half a level of the reference, and none is far off.
fn holds(rgb: &[u8], columns: usize, part: Part, percent: usize) {
    let (w, h) = part.to;
    let mut resizer = Resizer::default();
    for path in paths() {
        for filter in [Filter::Bicubic, Filter::Bilinear] {
            let mut out = vec![0; h * 3 * pitch(w)];
            resizer.resize_on(path, rgb, columns, part, filter, &mut out);
            let expected = reference::resize(rgb, columns, part, filter);
            // The pass across may round a pixel next to a half the other way.
            let (mut off, mut worst) = (0, 0.0f64);
            for (row, expected) in out.chunks_exact(pitch(w)).zip(expected.chunks_exact(w)) {
                for (&found, &expected) in row.iter().zip(expected) {
                    let error = (f64::from(found) - expected.clamp(0.0, 255.0)).abs();
                    worst = worst.max(error);
                    off += usize::from(error > 0.501);
                }
            }
            assert!(worst < 1.7, "{path:?} {part:?} {filter:?}: {worst}");
            assert!(
                off * 100 <= percent * w * h,
                "{path:?} {part:?} {filter:?}: {off} pixels"
            );
        }
    }
}

#[test]
fn a_part_of_its_own_size_is_copied_or_mirrored() {
    let rgb = picture(40, 30);
    for flip in [false, true] {
        let part = Part {
            x: 7,
            y: 4,
            width: 19,
            height: 21,
            flip,
            to: (19, 21),
        };
        let mut out = vec![0; 21 * 3 * pitch(19)];
        Resizer::default().resize(&rgb, 40, part, Filter::Bicubic, &mut out);
        for (i, row) in out.chunks_exact(pitch(19)).enumerate() {
            for (x, &found) in row[..19].iter().enumerate() {
                let x = if flip { 18 - x } else { x };
                assert_eq!(found, rgb[3 * ((4 + i / 3) * 40 + 7 + x) + i % 3]);
            }
        }
    }
}

#[test]
#[should_panic(expected = "leaves a picture of 8 x 6 pixels")]
fn a_part_outside_the_picture_is_a_bug() {
    let part = Part {
        x: 4,
        y: 0,
        width: 5,
        height: 6,
        flip: false,
        to: (4, 4),
    };
    Resizer::default().resize(&picture(8, 6), 8, part, Filter::Bicubic, &mut [0; 192]);
}

#[test]
fn a_whole_picture_interleaved() {
    let (from, to) = ((37, 23), (19, 31));
    let rgb: Vec<u8> = (0..3 * from.0 * from.1)
        .map(|i| (i * 37 % 251) as u8)
        .collect();
    let mut resizer = Resizer::default();
    let mut planar = vec![0; to.1 * 3 * pitch(to.0)];
    let part = Part::whole(from, to);
    resizer.resize(&rgb, from.0, part, Filter::Bicubic, &mut planar);
    let mut interleaved = vec![0; 3 * to.0 * to.1];
    resizer.resize_rgb(&rgb, from, to, Filter::Bicubic, &mut interleaved);
    for (at, value) in interleaved.iter().enumerate() {
        let (pixel, c) = (at / 3, at % 3);
        let (x, y) = (pixel % to.0, pixel / to.0);
        assert_eq!(*value, planar[(3 * y + c) * pitch(to.0) + x]);
    }
}

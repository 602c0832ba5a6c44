//! What damaged and malicious files hold: an error that says what is wrong, and no memory taken for it.

use intertwine_rle::{Rle, RleError};

#[test]
fn counts_that_do_not_add_up() {
    let error = Rle::from_counts(2, 3, vec![2, 5]).unwrap_err();
    assert_eq!(
        error,
        RleError::WrongTotal {
            height: 2,
            width: 3,
            total: 7
        }
    );
    let message = error.to_string();
    assert!(
        message.contains("7 pixels") && message.contains("is 6"),
        "{message}"
    );
    // A 32-bit sum would wrap round to the right total.
    let error = Rle::from_counts(2, 3, vec![u32::MAX, 7]).unwrap_err();
    assert_eq!(
        error,
        RleError::WrongTotal {
            height: 2,
            width: 3,
            total: (1 << 32) + 6
        }
    );
    assert!(Rle::from_counts(1, 1, vec![]).is_err());
    assert_eq!(Rle::from_counts(0, 7, vec![]).unwrap().counts(), [0]);
}

#[test]
fn sizes_up_to_two_to_the_31() {
    const HUGE: u32 = 1 << 31;
    assert_eq!(
        Rle::from_counts(HUGE, HUGE, vec![]),
        Err(RleError::TooLarge {
            height: HUGE,
            width: HUGE
        })
    );
    assert!(Rle::from_string(65_536, 65_536, "0").is_err());
    assert!(Rle::from_polygons(&[], HUGE, 2).is_err());
    // One column, one row, and the largest picture that runs can count: all exact.
    for (h, w) in [(HUGE, 1), (1, HUGE), (65_535, 65_537)] {
        let pixels = u64::from(h) * u64::from(w);
        let full = Rle::from_counts(h, w, vec![0, pixels as u32]).unwrap();
        assert_eq!(full.area(), pixels);
        assert_eq!(full.bbox(), [0.0, 0.0, f64::from(w), f64::from(h)]);
        assert_eq!(full.iou(&full, false), 1.0);
        assert_eq!(Rle::union(&[&full, &full]).unwrap(), full);
        assert_eq!(
            Rle::from_string(h, w, &full.to_coco_string()).unwrap(),
            full
        );
    }
    let last = Rle::from_counts(65_535, 65_537, vec![u32::MAX - 1, 1]).unwrap();
    assert_eq!(last.bbox(), [65_536.0, 65_534.0, 1.0, 1.0]);
    // A tall picture whose polygon spans it: no walk along 10^10 fine points.
    let strip =
        Rle::from_polygons(&[vec![0.0, 0.0, 1.0, 0.0, 1.0, 4e8, 0.0, 4e8]], HUGE, 1).unwrap();
    assert_eq!(strip.area(), 400_000_000);
}

#[test]
fn strings_that_are_not_masks() {
    let error = |s: &str| Rle::from_string(4, 4, s).unwrap_err();
    assert_eq!(
        error("4 "),
        RleError::InvalidByte {
            offset: 1,
            byte: b' '
        }
    );
    assert_eq!(
        error("4/"),
        RleError::InvalidByte {
            offset: 1,
            byte: b'/'
        }
    );
    assert_eq!(
        error("p"),
        RleError::InvalidByte {
            offset: 0,
            byte: b'p'
        }
    );
    assert!(matches!(
        error("4é"),
        RleError::InvalidByte { offset: 1, .. }
    ));
    // 'P' = more digits follow, but the string ends.
    assert_eq!(error("4P"), RleError::Truncated { run: 1 });
    // Digits without end.
    assert_eq!(error("oooooooooooooooo"), RleError::InvalidRun { run: 0 });
    // '@' = 16 = the sign bit alone: -16.
    assert_eq!(error("@"), RleError::InvalidRun { run: 0 });
    // Runs 1, 1, 1, then 1 - 2.
    assert_eq!(error("111N"), RleError::InvalidRun { run: 3 });
    assert_eq!(
        error("111"),
        RleError::WrongTotal {
            height: 4,
            width: 4,
            total: 3
        }
    );
}

#[test]
fn polygons_that_are_not_outlines() {
    let error = |polygon: &[f64]| {
        Rle::from_polygons(
            &[vec![0.0, 0.0, 2.0, 0.0, 2.0, 2.0], polygon.to_vec()],
            8,
            8,
        )
        .unwrap_err()
    };
    for length in [0, 1, 4, 5, 7] {
        assert_eq!(
            error(&vec![1.0; length]),
            RleError::PolygonLength { polygon: 1, length }
        );
    }
    for value in [f64::INFINITY, f64::NEG_INFINITY, 1e300, -4.01e8] {
        let found = error(&[0.0, 0.0, 5.0, value, 5.0, 5.0]);
        assert_eq!(
            found,
            RleError::Coordinate {
                polygon: 1,
                index: 3,
                value
            }
        );
    }
    let message = error(&[0.0, f64::NAN, 5.0, 5.0, 0.0, 5.0]).to_string();
    assert!(
        message.contains("number 1 of polygon 1 is NaN"),
        "{message}"
    );
}

#[test]
fn an_outline_of_endless_crossings_is_refused() {
    // 100,000 edges to and fro over 100 columns, each three rows below the last: 10 million crossings.
    let zigzag: Vec<f64> = (0..100_000)
        .flat_map(|i| [f64::from(i % 2) * 100.0, 3.0 * f64::from(i)])
        .collect();
    let error = Rle::from_polygons(&[zigzag], 300_000, 100).unwrap_err();
    assert_eq!(error, RleError::TooManyRuns { polygon: 0 });
}

#[test]
fn masks_of_different_sizes_share_nothing() {
    let a = Rle::from_counts(2, 3, vec![0, 6]).unwrap();
    let b = Rle::from_counts(3, 2, vec![0, 6]).unwrap();
    assert_eq!(a.iou(&b, false), 0.0);
    assert_eq!(Rle::union(&[&a, &b]), None);
    assert_eq!(Rle::union(&[]), None);
}

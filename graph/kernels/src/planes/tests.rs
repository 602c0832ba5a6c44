use super::{join, reference, split};
use proptest::prelude::*;

#[test]
fn a_case_by_hand() {
    // Two rows of two pixels; G: 10 12 / 11 20 -> left: 10 2 / 11 9 -> up: 10 2 / 1 7.
    let rgb = [13, 10, 10, 12, 12, 9, 11, 11, 11, 19, 20, 20];
    let mut planes = [0; 12];
    split(&rgb, 2, &mut planes);
    assert_eq!(planes[..4], [10, 2, 1, 7]);
    // R-G: 3 0 / 0 -1 -> 3 -3 / 0 -1 -> 3 -3 / -3 2.
    assert_eq!(planes[4..8], [3, 253, 253, 2]);
    // B-G: 0 -3 / 0 0 -> 0 -3 / 0 0 -> 0 -3 / 0 3.
    assert_eq!(planes[8..], [0, 253, 0, 3]);
}

#[test]
#[should_panic(expected = "rgb has 7 elements, expected a multiple of the row width 6")]
fn half_a_pixel_is_refused() {
    split(&[0; 7], 2, &mut [0; 7]);
}

proptest! {
    #[test]
    fn as_defined_and_back(width in 1usize..70, height in 1usize..20, noise in proptest::collection::vec(any::<u8>(), 3 * 70 * 20)) {
        let rgb = &noise[..3 * width * height];
        let mut planes = vec![1; rgb.len()];
        split(rgb, width, &mut planes);
        prop_assert_eq!(&planes, &reference::split(rgb, width));
        let mut back = vec![1; rgb.len()];
        join(&mut planes, width, &mut back);
        prop_assert_eq!(back, rgb);
    }
}

use super::{matmul, reference, Layout};
use crate::testing::{assert_close, same_on_any_pool, values};
use proptest::prelude::*;

fn check(m: usize, k: usize, n: usize, la: Layout, lb: Layout) {
    let (a, b, c) = (values(m * k, 1), values(k * n, 2), values(m * n, 3));
    let mut found = c.clone();
    matmul(m, k, n, &a, la, &b, lb, &mut found, true);
    assert_close(
        "accumulated",
        &found,
        &reference::matmul(m, k, n, (&a, la), (&b, lb), &c),
        2e-5,
    );
    let mut found = vec![f32::NAN; m * n];
    matmul(m, k, n, &a, la, &b, lb, &mut found, false);
    assert_close(
        "overwritten",
        &found,
        &reference::matmul(m, k, n, (&a, la), (&b, lb), &vec![0.0; m * n]),
        2e-5,
    );
}

const LAYOUTS: [Layout; 2] = [Layout::N, Layout::T];

#[test]
fn a_product_by_hand() {
    // [1 2; 3 4] [5 6; 7 8] and the same with each operand stored transposed.
    let mut c = [0.0; 4];
    matmul(
        2,
        2,
        2,
        &[1., 2., 3., 4.],
        Layout::N,
        &[5., 6., 7., 8.],
        Layout::N,
        &mut c,
        false,
    );
    assert_eq!(c, [19., 22., 43., 50.]);
    matmul(
        2,
        2,
        2,
        &[1., 3., 2., 4.],
        Layout::T,
        &[5., 7., 6., 8.],
        Layout::T,
        &mut c,
        true,
    );
    assert_eq!(c, [38., 44., 86., 100.]);
}

#[test]
fn sizes_of_the_encoder_in_every_layout() {
    for la in LAYOUTS {
        for lb in LAYOUTS {
            check(197, 192, 576, la, lb);
            check(192, 591, 65, la, lb);
            check(1, 64, 192, la, lb);
        }
    }
}

#[test]
fn nothing_to_do() {
    for (m, k, n) in [(0, 3, 4), (3, 0, 4), (3, 4, 0)] {
        check(m, k, n, Layout::N, Layout::N);
    }
}

#[test]
fn threads_do_not_change_the_result() {
    for (la, lb) in [
        (Layout::N, Layout::T),
        (Layout::N, Layout::N),
        (Layout::T, Layout::N),
    ] {
        let (m, k, n) = (333, 257, 190);
        let (a, b) = (values(m * k, 1), values(k * n, 2));
        same_on_any_pool(|| {
            let mut c = vec![0.0; m * n];
            matmul(m, k, n, &a, la, &b, lb, &mut c, false);
            c
        });
    }
}

#[test]
#[should_panic(expected = "matmul: b has 5 elements, expected 6")]
fn a_wrong_length_is_named() {
    matmul(
        1,
        2,
        3,
        &[0.0; 2],
        Layout::N,
        &[0.0; 5],
        Layout::N,
        &mut [0.0; 3],
        false,
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_small_product(m in 0usize..40, k in 0usize..70, n in 0usize..70, la in 0usize..2, lb in 0usize..2) {
        check(m, k, n, LAYOUTS[la], LAYOUTS[lb]);
    }
}

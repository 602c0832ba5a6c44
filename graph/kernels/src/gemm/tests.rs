use super::blocks::{Left, Product, Right};
use super::reference::nearest_bf16;
use super::{kernel, matmul, reference, Layout, Operand, Precision};
use crate::cpu::Path;
use crate::parallel::Scattered;
use crate::testing::{assert_close, same_on_any_pool, values};
use proptest::prelude::*;

/// The product on every path and in every precision against the definition, accumulating, and overwriting with one more than
/// it, which shows that each element is handed over once and finished.
fn check(m: usize, k: usize, n: usize, la: Layout, lb: Layout) {
    let (a, b, c) = (values(m * k, 1), values(k * n, 2), values(m * n, 3));
    let rounded = |x: &[f32]| x.iter().map(|v| nearest_bf16(*v)).collect::<Vec<_>>();
    let ones = vec![1.0; m * n];
    let add_one = |_, _, c: &mut [f32]| c.iter_mut().for_each(|x| *x += 1.0);
    for precision in [Precision::F32, Precision::Bf16] {
        let (ra, rb) = match precision {
            Precision::F32 => (a.clone(), b.clone()),
            Precision::Bf16 => (rounded(&a), rounded(&b)),
        };
        let sum = reference::matmul(m, k, n, (&ra, la), (&rb, lb), &c);
        let alone = reference::matmul(m, k, n, (&ra, la), (&rb, lb), &ones);
        for path in Path::ALL.into_iter().filter(|p| p.is_supported()) {
            let run = |c: &mut [f32], accumulate, epilogue| {
                let product = Product {
                    m,
                    k,
                    n,
                    a: Left::Matrix(Operand::new(&a, la, m, k)),
                    b: Right::Matrix(Operand::new(&b, lb, k, n)),
                    c_row: n,
                    accumulate,
                    epilogue,
                    parallel: true,
                };
                // SAFETY: c is borrowed mutably and [m, n]; the path is supported.
                unsafe {
                    product.run(
                        kernel::choose_for(path, precision, n, la == Layout::N),
                        &Scattered::new(c),
                    )
                };
            };
            let what = format!("{path:?} {precision:?} {m}x{k}x{n} {la:?}{lb:?}");
            let mut found = c.clone();
            run(&mut found, true, None);
            assert_close(&format!("{what} accumulated"), &found, &sum, 2e-5);
            let mut found = vec![f32::NAN; m * n];
            run(&mut found, false, Some(&add_one));
            assert_close(&format!("{what} overwritten"), &found, &alone, 2e-5);
        }
    }
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
        Precision::F32,
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
        Precision::F32,
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
            // Columns of the wide tiles.
            check(113, 577, 64, la, lb);
            check(5, 33, 128, la, lb);
            // Several blocks of k in either precision, and several tasks.
            check(203, 1601, 97, la, lb);
            // A `b` that is read where it lies, in several blocks.
            check(13, 801, 64, la, lb);
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
        let (m, k, n) = (333, 857, 190);
        let (a, b) = (values(m * k, 1), values(k * n, 2));
        for precision in [Precision::F32, Precision::Bf16] {
            same_on_any_pool(|| {
                let mut c = vec![0.0; m * n];
                matmul(m, k, n, &a, la, &b, lb, &mut c, false, precision);
                c
            });
        }
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
        Precision::F32,
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_small_product(m in 0usize..40, k in 0usize..70, n in 0usize..70, la in 0usize..2, lb in 0usize..2) {
        check(m, k, n, LAYOUTS[la], LAYOUTS[lb]);
    }
}

#[test]
fn rounding_to_bf16_by_hand() {
    // 1 + 2^-8 lies between 1 and 1 + 2^-7: the tie goes to the even 1; 1 + 3 * 2^-8 to 1 + 2^-6.
    for (x, expected) in [
        (1.0 + 0.003_906_25, 1.0),
        (1.0 + 0.011_718_75, 1.015_625),
        (-3.0, -3.0),
        (1e-3, 0.000_999_450_7),
    ] {
        assert_eq!(nearest_bf16(x), expected);
        let mut c = [0.0];
        matmul(
            1,
            1,
            1,
            &[x],
            Layout::N,
            &[1.0],
            Layout::N,
            &mut c,
            false,
            Precision::Bf16,
        );
        assert_eq!(c[0], expected);
    }
}

#[test]
fn not_a_number_stays_one_in_bf16() {
    let mut c = [0.0];
    let nan = f32::from_bits(0x7f80_0001);
    matmul(
        1,
        1,
        1,
        &[nan],
        Layout::N,
        &[1.0],
        Layout::N,
        &mut c,
        false,
        Precision::Bf16,
    );
    assert!(c[0].is_nan());
}

#[test]
#[should_panic(expected = "more elements than memory")]
fn a_shape_whose_size_wraps_around_is_refused() {
    let (rows, mut c) = ((1 << 60) + 1, [0.0; 16]);
    let (a, b) = ([0.0; 16], [0.0; 256]);
    matmul(
        rows,
        16,
        16,
        &a,
        Layout::N,
        &b,
        Layout::N,
        &mut c,
        false,
        Precision::F32,
    );
}

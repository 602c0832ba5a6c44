use super::{adamw, axpy, ema, reference, scale_add, sum_of_squares, AdamW, Average};
use crate::testing::{assert_close, same_on_any_pool, values};

const STEP: AdamW = AdamW {
    lr: 0.1,
    beta1: 0.9,
    beta2: 0.999,
    eps: 1e-8,
    weight_decay: 0.01,
    step: 1,
    grad_scale: 1.0,
};

#[test]
fn the_first_step_by_hand() {
    let (mut p, mut m, mut v) = ([1.0], [0.0], [0.0]);
    adamw(&mut p, &[0.5], &mut m, &mut v, None, &STEP);
    // Decay leaves 0.999; corrected, m is g and sqrt(v) is |g|, so the step is lr.
    assert_close("p", &p, &[0.899], 1e-6);
    assert_close("m", &m, &[0.05], 1e-6);
    assert_close("v", &v, &[0.000_25], 1e-8);
}

#[test]
fn three_steps_of_pytorch() {
    // torch.optim.AdamW([1., -2.], lr=0.1, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01) in float64,
    // gradients [0.5, -1], [-0.25, 0.3], [2, 0].
    let (mut p, mut m, mut v) = ([1.0, -2.0], [0.0; 2], [0.0; 2]);
    let expected = PYTORCH;
    for (i, g) in [[0.5, -1.0], [-0.25, 0.3], [2.0, 0.0]].iter().enumerate() {
        adamw(
            &mut p,
            g,
            &mut m,
            &mut v,
            None,
            &AdamW {
                step: i as u64 + 1,
                ..STEP
            },
        );
        assert_close("p", &p, &expected[i], 1e-6);
    }
}

const PYTORCH: [[f64; 2]; 3] = [
    [0.899000002, -1.898000001],
    [0.871467299, -1.853317142],
    [0.803531067, -1.818391006],
];

#[test]
fn many_steps_follow_the_reference() {
    let n = 1000;
    let (mut p, mut m, mut v) = (values(n, 1), vec![0.0; n], vec![0.0; n]);
    let mut wide: Vec<_> = p.iter().map(|p| (f64::from(*p), 0.0, 0.0)).collect();
    for step in 1..=40 {
        let g = values(n, 100 + step);
        let h = AdamW {
            step,
            lr: 1e-3,
            weight_decay: 0.4,
            grad_scale: 0.25,
            ..STEP
        };
        adamw(&mut p, &g, &mut m, &mut v, None, &h);
        for (state, g) in wide.iter_mut().zip(&g) {
            *state = reference::adamw(state.0, f64::from(*g), state.1, state.2, &h);
        }
    }
    assert_close("p", &p, &wide.iter().map(|s| s.0).collect::<Vec<_>>(), 5e-6);
    assert_close("m", &m, &wide.iter().map(|s| s.1).collect::<Vec<_>>(), 1e-6);
    assert_close("v", &v, &wide.iter().map(|s| s.2).collect::<Vec<_>>(), 1e-6);
}

#[test]
fn averages_and_sums() {
    let mut teacher = vec![1.0, 2.0, -4.0];
    ema(&mut teacher, &[2.0, 2.0, 4.0], 0.75);
    assert_eq!(teacher, [1.25, 2.0, -2.0]);
    ema(&mut teacher, &[9.0; 3], 1.0);
    assert_eq!(teacher, [1.25, 2.0, -2.0], "momentum 1 keeps the teacher");
    axpy(&mut teacher, 2.0, &[1.0, 0.0, -1.0]);
    assert_eq!(teacher, [3.25, 2.0, -4.0]);
    scale_add(&mut teacher, 2.0, -1.0, &[0.5, 4.0, 0.0]);
    assert_eq!(teacher, [6.0, 0.0, -8.0]);
    assert_eq!(sum_of_squares(&teacher), 100.0);
    assert_eq!(sum_of_squares(&[]), 0.0);
}

#[test]
fn a_sum_of_many_squares_keeps_its_digits() {
    // In single precision the sum would stop growing at 2^24.
    assert_eq!(
        sum_of_squares(&vec![1.0; (1 << 24) + 3]),
        f64::from((1 << 24) + 3)
    );
}

#[test]
fn threads_do_not_change_the_result() {
    let n = 100_003;
    let (p, g) = (values(n, 1), values(n, 2));
    same_on_any_pool(|| {
        let (mut p, mut m, mut v) = (p.clone(), vec![0.0; n], vec![0.0; n]);
        adamw(&mut p, &g, &mut m, &mut v, None, &STEP);
        let norm = sum_of_squares(&g).to_bits();
        [
            p,
            m,
            v,
            vec![
                f32::from_bits((norm >> 32) as u32),
                f32::from_bits(norm as u32),
            ],
        ]
        .concat()
    });
}

#[test]
fn an_average_in_the_same_pass_is_one_after_it() {
    for n in [1, 31, 50_001] {
        let start = || (values(n, 1), values(n, 2), vec![0.0; n], values(n, 4));
        let ((mut p, g, mut m, mut average), mut v) = (start(), vec![0.0; n]);
        let values = &mut average[..];
        let follow = Some(Average {
            values,
            momentum: 0.9,
        });
        adamw(&mut p, &g, &mut m, &mut v, follow, &STEP);
        let ((mut p2, _, mut m2, mut average2), mut v2) = (start(), vec![0.0; n]);
        adamw(&mut p2, &g, &mut m2, &mut v2, None, &STEP);
        ema(&mut average2, &p2, 0.9);
        assert_eq!((p, m, v, average), (p2, m2, v2, average2));
    }
}

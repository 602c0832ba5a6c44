use super::{backward, cls_attention, forward, reference, Group};
use crate::gemm::Precision;
use crate::testing::{assert_close, assert_gradient, inner, same_on_any_pool, values, wide};

struct Run {
    y: Vec<f32>,
    lse: Vec<f32>,
    dqkv: Vec<f32>,
}

/// Forward and backward with gradients that start at `start`.
fn run(qkv: &[f32], dy: &[f32], groups: &[Group], heads: usize, d: usize, start: f32) -> Run {
    let rows = qkv.len() / (3 * d);
    let mut r = Run {
        y: vec![f32::NAN; rows * d],
        lse: vec![f32::NAN; rows * heads],
        dqkv: vec![start; qkv.len()],
    };
    forward(qkv, groups, heads, d, &mut r.y, &mut r.lse, Precision::F32);
    backward(
        qkv,
        &r.y,
        &r.lse,
        dy,
        groups,
        heads,
        d,
        &mut r.dqkv,
        Precision::F32,
    );
    r
}

/// Larger than [-1, 1), so that the softmax is far from uniform.
fn inputs(groups: &[Group], d: usize) -> (Vec<f32>, Vec<f32>) {
    let rows: usize = groups.iter().map(|g| g.count * g.len).sum();
    (
        values(rows * 3 * d, 1).iter().map(|v| 3.0 * v).collect(),
        values(rows * d, 2),
    )
}

#[test]
fn agrees_with_the_reference() {
    let group = |count, len| Group { count, len };
    for (groups, heads, d) in [
        (vec![group(1, 1)], 1, 1),
        (vec![group(2, 3), group(1, 17), group(3, 2)], 2, 10),
        (vec![group(1, 65), group(2, 10)], 3, 93),
        (vec![group(2, 37), group(8, 10)], 3, 192),
        (vec![group(1, 197), group(1, 5)], 3, 192),
        (vec![group(1, 33), group(0, 5), group(2, 0)], 1, 64),
        (vec![group(1, 50)], 2, 256),
    ] {
        let (qkv, dy) = inputs(&groups, d);
        let r = run(&qkv, &dy, &groups, heads, d, 1.0);
        assert_close(
            "y",
            &r.y,
            &reference::forward(&wide(&qkv), &groups, heads, d),
            2e-5,
        );
        let expected = reference::backward(&wide(&qkv), &wide(&dy), &groups, heads, d);
        assert_close(
            "dqkv",
            &r.dqkv,
            &expected.iter().map(|v| v + 1.0).collect::<Vec<_>>(),
            5e-5,
        );
    }
}

#[test]
fn the_reference_gradient_is_the_slope() {
    let groups = [Group { count: 2, len: 3 }, Group { count: 1, len: 2 }];
    let (heads, d) = (2, 4);
    let (qkv, dy) = inputs(&groups, d);
    let (qkv, dy) = (wide(&qkv), wide(&dy));
    let g = reference::backward(&qkv, &dy, &groups, heads, d);
    assert_gradient("qkv", &qkv, &g, |qkv| {
        inner(&dy, &reference::forward(qkv, &groups, heads, d))
    });
}

#[test]
fn a_lone_token_reads_its_own_value() {
    let (groups, d) = ([Group { count: 4, len: 1 }], 6);
    let (qkv, dy) = inputs(&groups, d);
    let r = run(&qkv, &dy, &groups, 2, d, 0.0);
    for row in 0..4 {
        assert_eq!(r.y[row * d..][..d], qkv[row * 3 * d + 2 * d..][..d]);
        assert_eq!(r.dqkv[row * 3 * d + 2 * d..][..d], dy[row * d..][..d]);
    }
}

#[test]
fn two_tokens_by_hand() {
    // One head of width 1, scores (q_i k_j): row 0 sees (0, ln 3) and weighs the values 1/4 and 3/4.
    let l3 = 3f32.ln();
    let qkv = [1.0, 0.0, 8.0, 0.0, l3, 4.0];
    let r = run(&qkv, &[0.0; 2], &[Group { count: 1, len: 2 }], 1, 1, 0.0);
    assert_close("y", &r.y, &[5.0, 6.0], 1e-6);
    assert_close("lse", &r.lse, &[4f64.ln(), 2f64.ln()], 1e-6);
}

#[test]
fn large_scores_do_not_overflow() {
    let (groups, d) = ([Group { count: 1, len: 20 }], 32);
    let (mut qkv, dy) = inputs(&groups, d);
    qkv.iter_mut().for_each(|v| *v *= 30.0);
    let r = run(&qkv, &dy, &groups, 1, d, 0.0);
    assert!(r
        .y
        .iter()
        .chain(&r.lse)
        .chain(&r.dqkv)
        .all(|v| v.is_finite()));
    let expected = reference::forward(&wide(&qkv), &groups, 1, d);
    assert_close("y", &r.y, &expected, 5e-3);
}

#[test]
fn a_nan_is_not_hidden() {
    let (groups, d) = ([Group { count: 2, len: 7 }], 16);
    let (mut qkv, dy) = inputs(&groups, d);
    qkv[d + 3] = f32::NAN;
    let r = run(&qkv, &dy, &groups, 1, d, 0.0);
    assert!(
        r.y[..7 * d].iter().all(|v| v.is_nan()),
        "a NaN key reaches its sequence"
    );
    assert!(r.y[7 * d..].iter().all(|v| v.is_finite()), "and no other");
}

#[test]
fn cls_attention_is_the_first_row_of_probabilities() {
    let groups = [Group { count: 2, len: 5 }, Group { count: 1, len: 37 }];
    let (heads, d) = (3, 96);
    let (qkv, _) = inputs(&groups, d);
    let mut out = vec![f32::NAN; 47 * heads];
    cls_attention(&qkv, &groups, heads, d, &mut out);
    let mut expected = Vec::new();
    for (first, len) in [(0, 5), (5, 5), (10, 37)] {
        for h in 0..heads {
            expected.extend(reference::probabilities(
                &wide(&qkv),
                first,
                len,
                first,
                h,
                heads,
                d,
            ));
        }
    }
    assert_close("out", &out, &expected, 1e-5);
}

#[test]
fn threads_do_not_change_the_result() {
    let groups = [Group { count: 3, len: 65 }, Group { count: 20, len: 10 }];
    let (heads, d) = (3, 192);
    let (qkv, dy) = inputs(&groups, d);
    same_on_any_pool(|| {
        let r = run(&qkv, &dy, &groups, heads, d, 0.0);
        [r.y, r.lse, r.dqkv].concat()
    });
}

#[test]
fn no_sequences() {
    let r = run(&[], &[], &[], 3, 192, 0.0);
    assert!(r.y.is_empty());
}

#[test]
#[should_panic(expected = "attention: width 10 is not a positive multiple of 3 heads")]
fn heads_must_divide_the_width() {
    forward(
        &[0.0; 30],
        &[Group { count: 1, len: 1 }],
        3,
        10,
        &mut [0.0; 10],
        &mut [0.0; 3],
        Precision::F32,
    );
}

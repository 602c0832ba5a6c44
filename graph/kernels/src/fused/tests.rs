use super::{Conv, Linear, Mlp, Norm, Patches};
use crate::activation::{self, Activation};
use crate::conv::{self, Shape, Weights};
use crate::gemm::{Layout, Precision};
use crate::testing::{assert_close, same_on_any_pool, values, wide};
use crate::{attention, layer_norm, linear};
use std::sync::Arc;

fn activated(kind: Option<Activation>, x: &[f32]) -> Vec<f32> {
    let mut y = x.to_vec();
    if let Some(kind) = kind {
        activation::forward(kind, x, &mut y);
    }
    y
}

const ACTIVATIONS: [Option<Activation>; 3] = [None, Some(Activation::Gelu), Some(Activation::Silu)];

#[test]
fn a_linear_layer_is_its_parts() {
    for precision in [Precision::F32, Precision::Bf16] {
        for (rows, inp, out) in [(1, 3, 5), (17, 31, 49), (197, 192, 576), (577, 64, 100)] {
            for activation in ACTIVATIONS {
                let (x, w, b) = (values(rows * inp, 1), values(out * inp, 2), values(out, 3));
                let residual = values(rows * out, 4);
                let mut sum = vec![f32::NAN; rows * out];
                linear::forward(&x, &w, Some(&b), &mut sum, inp, out, precision);
                let plain = activated(activation, &sum);
                let added: Vec<f32> = plain.iter().zip(&residual).map(|(y, r)| y + r).collect();

                let layer = Linear::new(&w, Layout::T, &b, activation, precision);
                assert_eq!((layer.inp(), layer.out()), (inp, out));
                let mut y = vec![f32::NAN; rows * out];
                layer.forward(&x, None, &mut y);
                let tolerance = match precision {
                    Precision::F32 => 1e-5,
                    Precision::Bf16 => 1e-4,
                };
                assert_close("y", &y, &wide(&plain), tolerance);
                layer.forward(&x, Some(&residual), &mut y);
                assert_close("y + residual", &y, &wide(&added), tolerance);
            }
        }
    }
}

#[test]
fn two_layers_in_a_row_are_the_two() {
    for precision in [Precision::F32, Precision::Bf16] {
        for (rows, inp, width, out) in [(1, 3, 5, 2), (97, 24, 96, 31), (577, 48, 192, 48)] {
            let layer = |inp, out, activation, seed| {
                let (w, b) = (values(inp * out, seed), values(out, seed + 1));
                Linear::new(&w, Layout::T, &b, activation, precision)
            };
            let first = || layer(inp, width, Some(Activation::Gelu), 1);
            let second = || layer(width, out, None, 3);
            let (x, residual) = (values(rows * inp, 5), values(rows * out, 6));
            let (mut hidden, mut expected) = (vec![0.0; rows * width], vec![0.0; rows * out]);
            first().forward(&x, None, &mut hidden);
            let mlp = Mlp::new(first(), second());
            for residual in [None, Some(&residual[..])] {
                second().forward(&hidden, residual, &mut expected);
                let run = || {
                    let mut y = vec![f32::NAN; rows * out];
                    mlp.forward(&x, residual, &mut y);
                    y
                };
                assert_close("y", &run(), &wide(&expected), 1e-5);
                same_on_any_pool(run);
                assert_eq!(crate::alone(run), run());
            }
        }
    }
}

#[test]
fn a_weight_is_the_same_in_either_layout() {
    let (inp, out) = (37, 50);
    let (x, w, b) = (values(9 * inp, 1), values(out * inp, 2), values(out, 3));
    let turned: Vec<f32> = (0..inp * out).map(|i| w[i % out * inp + i / out]).collect();
    let run = |w: &[f32], layout| {
        let mut y = vec![f32::NAN; 9 * out];
        Linear::new(w, layout, &b, None, Precision::F32).forward(&x, None, &mut y);
        y
    };
    assert_eq!(run(&w, Layout::T), run(&turned, Layout::N));
}

#[test]
fn a_norm_is_its_parts() {
    for (rows, d) in [(1, 5), (33, 96), (300, 192)] {
        let (x, gamma, beta) = (values(rows * d, 1), values(d, 2), values(d, 3));
        let (mut y, mut mean, mut rstd) =
            (vec![f32::NAN; rows * d], vec![0.0; rows], vec![0.0; rows]);
        layer_norm::forward(&x, &gamma, &beta, 1e-6, &mut y, &mut mean, &mut rstd);
        for activation in ACTIVATIONS {
            let mut found = vec![f32::NAN; rows * d];
            Norm::new(&gamma, &beta, 1e-6, activation).forward(&x, &mut found);
            assert_close("y", &found, &wide(&activated(activation, &y)), 1e-6);
        }
    }
}

#[test]
fn a_convolution_is_its_parts() {
    for precision in [Precision::F32, Precision::Bf16] {
        for (height, width, inp, out) in [
            (1, 1, 3, 2),
            (5, 3, 7, 50),
            (24, 24, 96, 96),
            (12, 13, 31, 17),
        ] {
            let shape = Shape {
                batch: 1,
                height,
                width,
                inp,
                out,
            };
            let rows = shape.rows();
            let (x, w, b) = (
                values(rows * inp, 1),
                values(out * 9 * inp, 2),
                values(out, 3),
            );
            let (gamma, beta) = (values(out, 4), values(out, 5));
            let (mut sum, mut expected) = (vec![f32::NAN; rows * out], vec![f32::NAN; rows * out]);
            conv::forward(&x, &w, Some(&b), &mut sum, &shape, precision);
            let weights = Arc::new(Weights::new(&w, inp, out, precision));
            let mut y = vec![f32::NAN; rows * out];
            Conv::new(weights.clone(), &b, None).forward(&x, height, width, &mut y);
            assert_close("y", &y, &wide(&sum), 1e-6);

            let norm = Norm::new(&gamma, &beta, 1e-6, Some(Activation::Silu));
            norm.forward(&sum, &mut expected);
            Conv::new(weights, &b, Some(norm)).forward(&x, height, width, &mut y);
            assert_close("normalised", &y, &wide(&expected), 1e-6);
        }
    }
}

#[test]
fn patches_are_a_convolution_of_their_stride() {
    let (p, channels, height, width, out) = (4, 3, 12, 20, 7);
    let (rows, columns) = (height / p, width / p);
    let planes = values(channels * height * width, 1);
    let (w, b) = (values(out * channels * p * p, 2), values(out, 3));
    let positions = values(rows * columns * out, 4);
    let mut expected = wide(&positions);
    for (at, y) in expected.iter_mut().enumerate() {
        let (row, column, o) = (at / out / columns, at / out % columns, at % out);
        *y += f64::from(b[o]);
        for (i, w) in w[o * channels * p * p..][..channels * p * p]
            .iter()
            .enumerate()
        {
            let (c, dy, dx) = (i / (p * p), i / p % p, i % p);
            let x = planes[(c * height + row * p + dy) * width + column * p + dx];
            *y += f64::from(*w) * f64::from(x);
        }
    }
    let linear = Linear::new(&w, Layout::T, &b, None, Precision::F32);
    let mut y = vec![f32::NAN; expected.len()];
    Patches::new(linear, p, &positions).forward(&planes, height, width, &mut y);
    assert_close("y", &y, &expected, 1e-5);
}

#[test]
fn attention_of_one_sequence_is_that_of_many() {
    for (len, heads, d) in [(1, 1, 4), (65, 3, 96), (577, 2, 32)] {
        let qkv = values(len * 3 * d, 1);
        let groups = [attention::Group { count: 1, len }];
        let (mut many, mut lse) = (vec![f32::NAN; len * d], vec![0.0; len * heads]);
        attention::forward(&qkv, &groups, heads, d, &mut many, &mut lse, Precision::F32);
        let mut one = vec![f32::NAN; len * d];
        let scale = 1.0 / ((d / heads) as f32).sqrt();
        attention::forward_one(&qkv, heads, d, scale, &mut one, Precision::F32);
        assert_close("y", &one, &wide(&many), 1e-6);
        // Queries that already are multiplied by the scale.
        let mut scaled = qkv.clone();
        for row in scaled.chunks_exact_mut(3 * d) {
            row[..d].iter_mut().for_each(|q| *q *= scale);
        }
        attention::forward_one(&scaled, heads, d, 1.0, &mut one, Precision::F32);
        assert_close("scaled queries", &one, &wide(&many), 1e-5);
    }
}

#[test]
fn attention_in_bf16_is_as_exact_as_that_of_training() {
    for (len, heads, d) in [(1, 1, 4), (65, 3, 96), (577, 3, 192)] {
        let qkv = values(len * 3 * d, 1);
        let groups = [attention::Group { count: 1, len }];
        let many = |precision| {
            let (mut y, mut lse) = (vec![f32::NAN; len * d], vec![0.0; len * heads]);
            attention::forward(&qkv, &groups, heads, d, &mut y, &mut lse, precision);
            y
        };
        let exact = many(Precision::F32);
        let error = |y: &[f32]| {
            let squares = y.iter().zip(&exact).map(|(a, b)| (a - b) * (a - b));
            (squares.sum::<f32>() / exact.iter().map(|v| v * v).sum::<f32>()).sqrt()
        };
        let mut one = vec![f32::NAN; len * d];
        let scale = 1.0 / ((d / heads) as f32).sqrt();
        attention::forward_one(&qkv, heads, d, scale, &mut one, Precision::Bf16);
        let (one, many) = (error(&one), error(&many(Precision::Bf16)));
        assert!(
            one < 1.1 * many && one > 0.0,
            "{len}: {one:e}, in training {many:e}"
        );
    }
}

#[test]
fn threads_do_not_change_the_result() {
    let (x, w, b) = (values(577 * 192, 1), values(192 * 192, 2), values(192, 3));
    let layer = Linear::new(&w, Layout::T, &b, Some(Activation::Gelu), Precision::F32);
    let kernel = values(192 * 9 * 192, 4);
    let weights = Arc::new(Weights::new(&kernel, 192, 192, Precision::F32));
    let conv = Conv::new(weights, &b, None);
    let run = || {
        let mut y = vec![f32::NAN; 2 * x.len()];
        let (first, second) = y.split_at_mut(x.len());
        layer.forward(&x, Some(&x), first);
        conv.forward(&x[..576 * 192], 24, 24, &mut second[..576 * 192]);
        second[576 * 192..].fill(0.0);
        y
    };
    same_on_any_pool(run);
    assert_eq!(crate::alone(run), run());
}

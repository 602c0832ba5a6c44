//! Random bytes as a kernel, a shape and values, and the kernel held against its reference: for the fuzz target, and as a
//! property test.

use crate::activation::{self, Activation};
use crate::attention::{self, Group};
use crate::gemm::{matmul, reference::nearest_bf16, Layout, Precision};
use crate::optim::{AdamW, Average};
use crate::prototypes::Targets;
use crate::testing::{assert_close, values, wide};
use crate::{
    block, conv, gather, gemm, koleo, l2_norm, layer_norm, linear, max_pool, optim, prototypes,
    residual, softmax_ce,
};

/// The bytes that are left; 0 after the last.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> usize {
        self.0
            .split_off_first()
            .map_or(0, |byte| usize::from(*byte))
    }

    /// Up to and with `most`.
    fn size(&mut self, most: usize) -> usize {
        (self.byte() << 8 | self.byte()) % (most + 1)
    }

    /// 1 to `most`.
    fn some(&mut self, most: usize) -> usize {
        1 + self.size(most - 1)
    }

    fn either<T>(&mut self, a: T, b: T) -> T {
        if self.byte().is_multiple_of(2) {
            a
        } else {
            b
        }
    }

    fn values(&mut self, n: usize) -> Vec<f32> {
        let seed = self.byte() as u64;
        values(n, seed)
    }

    fn groups(&mut self) -> Vec<Group> {
        (0..self.some(3))
            .map(|_| Group {
                count: self.size(3),
                len: self.size(40),
            })
            .collect()
    }
}

fn tokens(groups: &[Group]) -> usize {
    groups.iter().map(|g| g.count * g.len).sum()
}

fn plus_one(x: &[f64]) -> Vec<f64> {
    x.iter().map(|v| v + 1.0).collect()
}

/// Runs the kernel that the bytes name on the shape and values that they give.
///
/// # Panics
/// If it disagrees with its reference.
pub fn check(bytes: &[u8]) {
    let mut input = Input(bytes);
    const CHECKS: [fn(&mut Input); 14] = [
        product, affine, attend, norm, activate, teacher, student, normalise, spread, convolve,
        pool, sample, add, optimise,
    ];
    let which = input.byte() % (CHECKS.len() + 1);
    match CHECKS.get(which) {
        Some(check) => check(&mut input),
        None => transform(&mut input),
    }
}

fn product(i: &mut Input) {
    let (m, k, n) = (i.size(130), i.size(500), i.size(130));
    let (la, lb) = (
        i.either(Layout::N, Layout::T),
        i.either(Layout::N, Layout::T),
    );
    let precision = i.either(Precision::F32, Precision::Bf16);
    let (a, b, mut c) = (i.values(m * k), i.values(k * n), i.values(m * n));
    let round = |x: &[f32]| match precision {
        Precision::F32 => x.to_vec(),
        Precision::Bf16 => x.iter().map(|v| nearest_bf16(*v)).collect(),
    };
    let expected = gemm::reference::matmul(m, k, n, (&round(&a), la), (&round(&b), lb), &c);
    matmul(m, k, n, &a, la, &b, lb, &mut c, true, precision);
    assert_close("product", &c, &expected, 5e-5);
}

fn affine(i: &mut Input) {
    let (rows, inp, out) = (i.size(100), i.some(130), i.some(130));
    let [x, w, b, dy] = [rows * inp, out * inp, out, rows * out].map(|n| i.values(n));
    let mut y = vec![f32::NAN; dy.len()];
    linear::forward(&x, &w, Some(&b), &mut y, inp, out, Precision::F32);
    let expected = linear::reference::forward(&wide(&x), &wide(&w), &wide(&b), inp);
    assert_close("y", &y, &expected, 5e-5);
    let (mut dx, mut dw, mut db) = (vec![1.0; x.len()], vec![1.0; w.len()], vec![1.0; out]);
    linear::backward_input(&dy, &w, &mut dx, inp, out, Precision::F32);
    linear::backward_params(&dy, &x, &mut dw, Some(&mut db), inp, out, Precision::F32);
    let g = linear::reference::backward(&wide(&dy), &wide(&x), &wide(&w), inp, out);
    assert_close("dx", &dx, &plus_one(&g.dx), 5e-5);
    assert_close("dw", &dw, &plus_one(&g.dw), 5e-5);
    assert_close("db", &db, &plus_one(&g.db), 5e-5);
}

fn attend(i: &mut Input) {
    let (groups, heads) = (i.groups(), i.some(4));
    let d = heads * i.some(70);
    let rows = tokens(&groups);
    let (qkv, dy) = (i.values(rows * 3 * d), i.values(rows * d));
    let (mut y, mut lse) = (vec![f32::NAN; rows * d], vec![f32::NAN; rows * heads]);
    attention::forward(&qkv, &groups, heads, d, &mut y, &mut lse, Precision::F32);
    let expected = attention::reference::forward(&wide(&qkv), &groups, heads, d);
    assert_close("y", &y, &expected, 5e-5);
    let mut dqkv = vec![1.0; qkv.len()];
    let f32 = Precision::F32;
    attention::backward(&qkv, &y, &lse, &dy, &groups, heads, d, &mut dqkv, f32);
    let expected = attention::reference::backward(&wide(&qkv), &wide(&dy), &groups, heads, d);
    assert_close("dqkv", &dqkv, &plus_one(&expected), 1e-4);
}

fn norm(i: &mut Input) {
    let (rows, d) = (i.size(200), i.some(400));
    let [x, gamma, beta, dy] = [rows * d, d, d, rows * d].map(|n| i.values(n));
    let (mut y, mut mean, mut rstd) = (vec![f32::NAN; x.len()], vec![0.0; rows], vec![0.0; rows]);
    layer_norm::forward(&x, &gamma, &beta, 1e-3, &mut y, &mut mean, &mut rstd);
    let eps = f64::from(1e-3f32);
    let expected = layer_norm::reference::forward(&wide(&x), &wide(&gamma), &wide(&beta), eps);
    assert_close("y", &y, &expected, 1e-4);
    let (mut dx, mut dgamma, mut dbeta) = (vec![1.0; x.len()], vec![1.0; d], vec![1.0; d]);
    let (dg, db) = (&mut dgamma, &mut dbeta);
    layer_norm::backward(&x, &gamma, &mean, &rstd, &dy, &mut dx, dg, db);
    let g = layer_norm::reference::backward(&wide(&x), &wide(&gamma), eps, &wide(&dy));
    assert_close("dx", &dx, &plus_one(&g.dx), 1e-3);
    assert_close("dgamma", &dgamma, &plus_one(&g.dgamma), 1e-3);
    assert_close("dbeta", &dbeta, &plus_one(&g.dbeta), 1e-4);
}

fn activate(i: &mut Input) {
    let (n, scale) = (i.size(40_000), i.some(20) as f32);
    let kind = i.either(Activation::Gelu, Activation::Silu);
    let x: Vec<f32> = i.values(n).iter().map(|v| v * scale).collect();
    let (dy, mut y, mut dx) = (i.values(n), vec![f32::NAN; n], vec![1.0; n]);
    activation::forward(kind, &x, &mut y);
    activation::backward(kind, &x, &dy, &mut dx);
    let of = |f: fn(Activation, f64) -> f64| x.iter().map(move |x| f(kind, f64::from(*x)));
    let expected: Vec<_> = of(activation::reference::forward).collect();
    assert_close("y", &y, &expected, 1e-5);
    let slopes = of(activation::reference::derivative).zip(&dy);
    let expected: Vec<_> = slopes.map(|(s, dy)| 1.0 + s * f64::from(*dy)).collect();
    assert_close("dx", &dx, &expected, 1e-5);
}

fn teacher(i: &mut Input) {
    let (rows, k, rounds) = (i.some(60), i.some(500), i.size(4));
    let (z, centre) = (i.values(rows * k), i.values(k));
    let mut out = vec![f32::NAN; z.len()];
    softmax_ce::teacher_softmax(&z, Some(&centre), 0.07, k, &mut out);
    let temperature = f64::from(0.07f32);
    let expected = softmax_ce::reference::softmax(&wide(&z), &wide(&centre), temperature);
    assert_close("softmax", &out, &expected, 5e-5);
    softmax_ce::sinkhorn(&z, 0.07, rounds, k, &mut out);
    let expected = softmax_ce::reference::sinkhorn(&wide(&z), temperature, rounds, k);
    assert_close("sinkhorn", &out, &expected, 5e-5);
}

fn student(i: &mut Input) {
    let (rows, inp, k) = (i.size(250), i.some(40), i.some(200));
    let targets = i.some(5);
    let [x, w, weight] = [rows * inp, k * inp, rows].map(|n| i.values(n));
    let probabilities: Vec<f32> = i.values(targets * k).iter().map(|v| v + 1.0).collect();
    let row: Vec<u32> = (0..rows).map(|r| (r * 7 % targets) as u32).collect();
    let (mut dx, mut dw) = (vec![1.0; x.len()], vec![1.0; w.len()]);
    let given = Targets {
        probabilities: &probabilities,
        row: &row,
        weight: &weight,
    };
    let gradients = Some((&mut dx[..], &mut dw[..]));
    let losses = prototypes::losses(&x, &w, given, 0.5, inp, k, Precision::F32, gradients);
    let weighted = losses.iter().zip(&weight).map(|(l, w)| l * f64::from(*w));
    let found: f64 = weighted.sum();
    let (x, w) = (wide(&x), wide(&w));
    let z = linear::reference::forward(&x, &w, &vec![0.0; k], inp);
    let problem = softmax_ce::reference::Problem {
        targets: &wide(&probabilities),
        target_row: &row,
        weight: &wide(&weight),
        temperature: 0.5,
        k,
    };
    let expected = problem.loss(&z);
    // The terms are of either sign.
    let scale = (rows * k) as f64;
    assert!((found - expected).abs() < 1e-5 * scale.max(1.0));
    let g = linear::reference::backward(&problem.gradient(&z), &x, &w, inp, k);
    let relative = |what, found: &[f32], expected: &[f64]| {
        let scale = expected.iter().fold(1.0f64, |m, v| m.max(v.abs()));
        let expected: Vec<_> = expected.iter().map(|v| (v + 1.0) / scale).collect();
        let found: Vec<_> = found.iter().map(|v| v / scale as f32).collect();
        assert_close(what, &found, &expected, 1e-4);
    };
    relative("dx", &dx, &g.dx);
    relative("dw", &dw, &g.dw);
}

fn normalise(i: &mut Input) {
    let (rows, d) = (i.size(200), i.some(400));
    let (x, dy) = (i.values(rows * d), i.values(rows * d));
    let (mut y, mut norm) = (vec![f32::NAN; x.len()], vec![f32::NAN; rows]);
    let mut dx = vec![1.0; x.len()];
    l2_norm::forward(&x, 0.125, d, &mut y, &mut norm);
    l2_norm::backward(&y, &norm, &dy, 0.125, d, &mut dx);
    let (x, dy) = (wide(&x), wide(&dy));
    assert_close("y", &y, &l2_norm::reference::forward(&x, 0.125, d), 5e-5);
    let expected = l2_norm::reference::backward(&x, &dy, 0.125, d);
    assert_close("dx", &dx, &plus_one(&expected), 5e-4);
}

fn spread(i: &mut Input) {
    let (groups, group, d) = (i.some(4), 1 + i.some(40), i.some(100));
    // A width of 1 has two unit vectors: nearest rows coincide, and the logarithm of 1e-8 is all that there is.
    let (x, d) = (i.values(groups * group * (d + 3)), d + 3);
    let (mut unit, mut norm) = (vec![0.0; x.len()], vec![0.0; groups * group]);
    l2_norm::forward(&x, 1e-12, d, &mut unit, &mut norm);
    let found = koleo::loss(&unit, group, d, None);
    let expected = koleo::reference::loss(&wide(&unit), group, d);
    // Squared distances by products lose what is below 1e-7.
    assert!((found - expected).abs() < 1e-2 * expected.abs().max(1.0));
}

/// As many as transforms are used for, or any few.
fn channels(i: &mut Input) -> usize {
    let (few, many) = (i.some(20), 16 * (1 + i.some(3)));
    i.either(few, many)
}

fn convolve(i: &mut Input) {
    let s = conv::Shape {
        batch: i.some(3),
        height: i.some(20),
        width: i.some(20),
        inp: channels(i),
        out: channels(i),
    };
    let sizes = [s.rows() * s.inp, s.out * 9 * s.inp, s.out, s.rows() * s.out];
    let [x, w, b, dy] = sizes.map(|n| i.values(n));
    let mut y = vec![f32::NAN; dy.len()];
    conv::forward(&x, &w, Some(&b), &mut y, &s, Precision::F32);
    let (mut dx, mut dw, mut db) = (vec![1.0; x.len()], vec![1.0; w.len()], vec![1.0; b.len()]);
    let (to_x, to_b) = (Some(&mut dx[..]), Some(&mut db[..]));
    conv::backward(&x, &w, &dy, to_x, &mut dw, to_b, &s, Precision::F32);
    let (x, w, b, dy) = (wide(&x), wide(&w), wide(&b), wide(&dy));
    assert_close("y", &y, &conv::reference::forward(&x, &w, &b, &s), 5e-5);
    let g = conv::reference::backward(&x, &w, &dy, &s);
    assert_close("dx", &dx, &plus_one(&g.dx), 5e-5);
    assert_close("dw", &dw, &plus_one(&g.dw), 2e-4);
    assert_close("db", &db, &plus_one(&g.db), 2e-4);
}

fn pool(i: &mut Input) {
    let (b, h, w, c) = (i.some(3), 1 + i.some(20), 1 + i.some(20), i.some(40));
    let x = i.values(b * h * w * c);
    let (oh, ow) = (h / 2, w / 2);
    let (mut y, mut at) = (vec![f32::NAN; b * oh * ow * c], vec![9; b * oh * ow * c]);
    max_pool::forward(&x, &mut y, &mut at, b, h, w, c);
    let element = |n: usize, p: usize, q: usize| {
        let (channel, column, line, image) = (n % c, n / c % ow, n / c / ow % oh, n / c / ow / oh);
        ((image * h + 2 * line + p) * w + 2 * column + q) * c + channel
    };
    for (n, y) in y.iter().enumerate() {
        let window = [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(p, q)| x[element(n, p, q)]);
        assert_eq!(*y, window.into_iter().fold(f32::MIN, f32::max));
        assert_eq!(*y, window[usize::from(at[n])]);
    }
    let (dy, mut dx) = (i.values(y.len()), vec![0.0; x.len()]);
    max_pool::backward(&dy, &at, &mut dx, b, h, w, c);
    for (n, dy) in dy.iter().enumerate() {
        let at = usize::from(at[n]);
        assert_eq!(dx[element(n, at / 2, at % 2)], *dy);
    }
}

fn sample(i: &mut Input) {
    let (rows, outputs, d) = (i.some(300), i.size(200), i.some(100));
    let (table, dy) = (i.values(rows * d), i.values(outputs * d));
    let weight: Vec<[f32; 4]> = i.values(outputs * 4).as_chunks().0.to_vec();
    let at = i.values(outputs * 4);
    let at = at.iter().map(|v| ((v + 1.0) * 1e5) as u32 % rows as u32);
    let index: Vec<[u32; 4]> = at.collect::<Vec<_>>().as_chunks().0.to_vec();
    let (mut y, mut dtable) = (vec![f32::NAN; dy.len()], vec![1.0; table.len()]);
    gather::taps_forward(&table, &index, &weight, d, &mut y);
    gather::taps_backward(&dy, &index, &weight, d, &mut dtable);
    let taps = index.as_flattened().iter().zip(weight.as_flattened());
    let taps: Vec<_> = taps
        .enumerate()
        .map(|(n, (i, w))| (n / 4, *i as usize, f64::from(*w)))
        .collect();
    let expected = gather::reference::forward(&wide(&table), &taps, outputs, d);
    assert_close("y", &y, &expected, 1e-5);
    let expected = gather::reference::backward(&wide(&dy), &taps, rows, d);
    assert_close("dtable", &dtable, &plus_one(&expected), 2e-4);
}

fn add(i: &mut Input) {
    let (rows, d) = (i.size(200), i.some(300));
    let [x, f, dy, gamma, scale] = [rows * d, rows * d, rows * d, d, rows].map(|n| i.values(n));
    let (mut y, mut df, mut dgamma) = (vec![f32::NAN; x.len()], vec![1.0; x.len()], vec![1.0; d]);
    residual::forward(&x, &f, Some(&gamma), Some(&scale), d, &mut y);
    let to_gamma = Some(&mut dgamma[..]);
    residual::backward(&f, Some(&gamma), Some(&scale), &dy, d, &mut df, to_gamma);
    let [x, f, dy, gamma, scale] = [x, f, dy, gamma, scale].map(|v| wide(&v));
    let expected = residual::reference::forward(&x, &f, &gamma, &scale);
    assert_close("y", &y, &expected, 1e-6);
    let (expected, expected_gamma) = residual::reference::backward(&f, &gamma, &scale, &dy);
    assert_close("df", &df, &plus_one(&expected), 1e-6);
    assert_close("dgamma", &dgamma, &plus_one(&expected_gamma), 1e-4);
}

fn optimise(i: &mut Input) {
    let n = i.size(40_000);
    let [mut p, g, mut m, mut average] = [n; 4].map(|n| i.values(n));
    let mut v: Vec<f32> = i.values(n).iter().map(|v| v.abs()).collect();
    let h = AdamW {
        lr: 0.01,
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        weight_decay: 0.05,
        step: 1 + i.byte() as u64,
        grad_scale: 0.5,
    };
    let state = p.iter().zip(&g).zip(&m).zip(&v).zip(&average);
    let expected: Vec<_> = state
        .map(|((((p, g), m), v), a)| {
            let [p, g, m, v, a] = [*p, *g, *m, *v, *a].map(f64::from);
            let (p, m, v) = optim::reference::adamw(p, g, m, v, &h);
            (p, m, v, a + (1.0 - f64::from(0.9f32)) * (p - a))
        })
        .collect();
    let follow = Average {
        values: &mut average,
        momentum: 0.9,
    };
    optim::adamw(&mut p, &g, &mut m, &mut v, Some(follow), &h);
    let column = |f: fn(&(f64, f64, f64, f64)) -> f64| expected.iter().map(f).collect::<Vec<_>>();
    assert_close("m", &m, &column(|e| e.1), 1e-6);
    assert_close("v", &v, &column(|e| e.2), 1e-6);
    // A tiny second moment makes a large step, and a large error of it.
    assert_close("p", &p, &column(|e| e.0), 1e-3);
    assert_close("average", &average, &column(|e| e.3), 1e-3);
}

/// A whole block against the references of its parts.
fn transform(i: &mut Input) {
    let (groups, heads) = (i.groups(), i.some(3));
    let (d, hidden) = (heads * i.some(24), i.some(100));
    let (rows, scaled) = (tokens(&groups), i.either(true, false));
    let [x, mut dy] = [rows * d; 2].map(|n| i.values(n));
    let scales = i.values(rows);
    // A loss that reads some rows only.
    let (every, from) = (i.some(3), i.size(2));
    let wanted: Vec<u32> = (from..rows).step_by(every).map(|r| r as u32).collect();
    let mut dwanted = vec![0.0; wanted.len() * d];
    gather::rows_forward(&dy, &wanted, d, &mut dwanted);
    dy.fill(0.0);
    gather::rows_backward(&dwanted, &wanted, d, &mut dy);
    let scale = 1.0 / (d as f32).sqrt();
    let mut make = |n: usize, scale: f32| -> Vec<f32> {
        let x = i.values(n);
        x.iter().map(|v| v * scale).collect()
    };
    let p = block::Parameters {
        norm1_weight: make(d, 1.0),
        norm1_bias: make(d, 1.0),
        qkv_weight: make(3 * d * d, scale),
        qkv_bias: make(3 * d, 1.0),
        proj_weight: make(d * d, scale),
        proj_bias: make(d, 1.0),
        gain1: Some(make(d, 1.0)),
        norm2_weight: make(d, 1.0),
        norm2_bias: make(d, 1.0),
        fc1_weight: make(hidden * d, scale),
        fc1_bias: make(hidden, 1.0),
        fc2_weight: make(d * hidden, scale),
        fc2_bias: make(d, 1.0),
        gain2: Some(make(d, 1.0)),
    };
    let eps = 1e-2f32;
    let shape = block::Shape {
        groups: &groups,
        heads,
        d,
        hidden,
        eps,
        precision: Precision::F32,
        row_scales: [scaled.then_some(&scales), scaled.then_some(&scales)],
    };
    let (mut y, mut dx) = (vec![f32::NAN; x.len()], dy.clone());
    let mut g = p.each(|v| vec![0.0; v.len()]);
    let given = p.each(Vec::as_slice);
    let saved = block::forward(&x, &given, &shape, &mut y);
    block::backward(&x, &given, &shape, Some(saved), &mut dx, &mut g);

    let (mut picked, mut some_dx) = (vec![0.0; dwanted.len()], vec![0.0; x.len()]);
    gather::rows_forward(&y, &wanted, d, &mut picked);
    let mut some_y = vec![f32::NAN; picked.len()];
    let mut some_g = p.each(|v| vec![0.0; v.len()]);
    let saved = block::some_rows::forward(&x, &given, &shape, &wanted, &mut some_y);
    let (dy_of, dx_of, g_of) = (&mut dwanted, &mut some_dx, &mut some_g);
    block::some_rows::backward(&x, &given, &shape, &wanted, saved, dy_of, dx_of, g_of);
    assert_close("y of some rows", &some_y, &wide(&picked), 1e-4);
    assert_close("d x of some rows", &some_dx, &wide(&dx), 1e-3);
    for (some, all) in [
        (&some_g.qkv_weight, &g.qkv_weight),
        (&some_g.fc2_weight, &g.fc2_weight),
        (&some_g.norm1_bias, &g.norm1_bias),
    ] {
        assert_close("d parameters of some rows", some, &wide(all), 1e-3);
    }

    let (p, eps) = (p.each(|v| wide(v)), f64::from(eps));
    let (x, dy) = (wide(&x), wide(&dy));
    let scales = if scaled {
        wide(&scales)
    } else {
        vec![1.0; rows]
    };
    let (gain1, gain2) = (p.gain1.unwrap_or_default(), p.gain2.unwrap_or_default());
    use crate::layer_norm::reference as norm;
    use crate::linear::reference as affine;
    use crate::residual::reference as add;
    let h1 = norm::forward(&x, &p.norm1_weight, &p.norm1_bias, eps);
    let qkv = affine::forward(&h1, &p.qkv_weight, &p.qkv_bias, d);
    let attended = attention::reference::forward(&qkv, &groups, heads, d);
    let branch1 = affine::forward(&attended, &p.proj_weight, &p.proj_bias, d);
    let mid = add::forward(&x, &branch1, &gain1, &scales);
    let h2 = norm::forward(&mid, &p.norm2_weight, &p.norm2_bias, eps);
    let before = affine::forward(&h2, &p.fc1_weight, &p.fc1_bias, d);
    let each = |f: fn(Activation, f64) -> f64| -> Vec<f64> {
        before.iter().map(|v| f(Activation::Gelu, *v)).collect()
    };
    let after = each(activation::reference::forward);
    let branch2 = affine::forward(&after, &p.fc2_weight, &p.fc2_bias, hidden);
    assert_close(
        "y",
        &y,
        &add::forward(&mid, &branch2, &gain2, &scales),
        2e-4,
    );

    let plus = |a: &[f64], b: &[f64]| -> Vec<f64> { a.iter().zip(b).map(|(a, b)| a + b).collect() };
    let (dbranch2, dgain2) = add::backward(&branch2, &gain2, &scales, &dy);
    let fc2 = affine::backward(&dbranch2, &after, &p.fc2_weight, hidden, d);
    let slopes = each(activation::reference::derivative);
    let dbefore: Vec<_> = fc2.dx.iter().zip(&slopes).map(|(d, s)| d * s).collect();
    let fc1 = affine::backward(&dbefore, &h2, &p.fc1_weight, d, hidden);
    let norm2 = norm::backward(&mid, &p.norm2_weight, eps, &fc1.dx);
    let dmid = plus(&dy, &norm2.dx);
    let (dbranch1, dgain1) = add::backward(&branch1, &gain1, &scales, &dmid);
    let proj = affine::backward(&dbranch1, &attended, &p.proj_weight, d, d);
    let dqkv = attention::reference::backward(&qkv, &proj.dx, &groups, heads, d);
    let qkv = affine::backward(&dqkv, &h1, &p.qkv_weight, d, 3 * d);
    let norm1 = norm::backward(&x, &p.norm1_weight, eps, &qkv.dx);
    for (what, found, expected) in [
        ("x", &dx, plus(&dmid, &norm1.dx)),
        ("norm1.weight", &g.norm1_weight, norm1.dgamma),
        ("norm1.bias", &g.norm1_bias, norm1.dbeta),
        ("qkv.weight", &g.qkv_weight, qkv.dw),
        ("qkv.bias", &g.qkv_bias, qkv.db),
        ("proj.weight", &g.proj_weight, proj.dw),
        ("proj.bias", &g.proj_bias, proj.db),
        ("gain1", &g.gain1.unwrap_or_default(), dgain1),
        ("norm2.weight", &g.norm2_weight, norm2.dgamma),
        ("norm2.bias", &g.norm2_bias, norm2.dbeta),
        ("fc1.weight", &g.fc1_weight, fc1.dw),
        ("fc1.bias", &g.fc1_bias, fc1.db),
        ("fc2.weight", &g.fc2_weight, fc2.dw),
        ("fc2.bias", &g.fc2_bias, fc2.db),
        ("gain2", &g.gain2.unwrap_or_default(), dgain2),
    ] {
        assert_close(&format!("d {what}"), found, &expected, 1e-3);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn every_kernel_agrees_with_its_reference_on_any_shape(bytes: [u8; 32]) {
            super::check(&bytes);
        }
    }
}

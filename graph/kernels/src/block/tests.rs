use super::{backward, forward, some_rows, Parameters, Shape};
use crate::activation::{self, Activation};
use crate::attention::Group;
use crate::gemm::Precision;
use crate::testing::{assert_close, same_on_any_pool, values, wide};
use crate::{attention, gather, layer_norm, linear, residual};

const EPS: f32 = 1e-6;

struct Case {
    d: usize,
    hidden: usize,
    heads: usize,
    groups: Vec<Group>,
    gains: bool,
    scales: bool,
}

fn cases() -> Vec<Case> {
    let group = |count, len| Group { count, len };
    let case = |d, hidden, heads, groups, gains, scales| Case {
        d,
        hidden,
        heads,
        groups,
        gains,
        scales,
    };
    vec![
        case(12, 31, 3, vec![group(2, 5), group(3, 1)], true, true),
        case(16, 64, 2, vec![group(1, 17)], false, true),
        case(10, 7, 1, vec![group(4, 3)], true, false),
        case(192, 768, 3, vec![group(1, 50), group(2, 10)], false, false),
    ]
}

impl Case {
    fn rows(&self) -> usize {
        self.groups.iter().map(|g| g.count * g.len).sum()
    }

    fn parameters(&self) -> Parameters<Vec<f32>> {
        let (d, h) = (self.d, self.hidden);
        let mut seed = 0;
        let mut next = |n: usize, scale: f32| -> Vec<f32> {
            seed += 1;
            values(n, seed).iter().map(|v| v * scale).collect()
        };
        let weight = 1.5 / (d as f32).sqrt();
        Parameters {
            norm1_weight: next(d, 1.0),
            norm1_bias: next(d, 1.0),
            qkv_weight: next(3 * d * d, weight),
            qkv_bias: next(3 * d, 1.0),
            proj_weight: next(d * d, weight),
            proj_bias: next(d, 1.0),
            gain1: self.gains.then(|| next(d, 1.0)),
            norm2_weight: next(d, 1.0),
            norm2_bias: next(d, 1.0),
            fc1_weight: next(h * d, weight),
            fc1_bias: next(h, 1.0),
            fc2_weight: next(d * h, weight),
            fc2_bias: next(d, 1.0),
            gain2: self.gains.then(|| next(d, 1.0)),
        }
    }

    fn scales(&self) -> Option<Vec<f32>> {
        let some = |row: usize| if row.is_multiple_of(3) { 0.0 } else { 1.25 };
        self.scales.then(|| (0..self.rows()).map(some).collect())
    }

    fn shape<'a>(&'a self, scales: &'a Option<Vec<f32>>, precision: Precision) -> Shape<'a> {
        Shape {
            groups: &self.groups,
            heads: self.heads,
            d: self.d,
            hidden: self.hidden,
            eps: EPS,
            precision,
            row_scales: [scales.as_deref(), scales.as_deref()],
        }
    }
}

fn all(p: &Parameters<Vec<f32>>) -> Vec<f32> {
    let p = p.each(Vec::as_slice);
    let mut out = Vec::new();
    for part in [
        p.norm1_weight,
        p.norm1_bias,
        p.qkv_weight,
        p.qkv_bias,
        p.proj_weight,
        p.proj_bias,
        p.norm2_weight,
        p.norm2_bias,
        p.fc1_weight,
        p.fc1_bias,
        p.fc2_weight,
        p.fc2_bias,
    ] {
        out.extend_from_slice(part);
    }
    for part in [p.gain1, p.gain2].into_iter().flatten() {
        out.extend_from_slice(part);
    }
    out
}

fn zeros_like(p: &Parameters<Vec<f32>>, start: f32) -> Parameters<Vec<f32>> {
    let z = |v: &Vec<f32>| vec![start; v.len()];
    Parameters {
        norm1_weight: z(&p.norm1_weight),
        norm1_bias: z(&p.norm1_bias),
        qkv_weight: z(&p.qkv_weight),
        qkv_bias: z(&p.qkv_bias),
        proj_weight: z(&p.proj_weight),
        proj_bias: z(&p.proj_bias),
        gain1: p.gain1.as_ref().map(z),
        norm2_weight: z(&p.norm2_weight),
        norm2_bias: z(&p.norm2_bias),
        fc1_weight: z(&p.fc1_weight),
        fc1_bias: z(&p.fc1_bias),
        fc2_weight: z(&p.fc2_weight),
        fc2_bias: z(&p.fc2_bias),
        gain2: p.gain2.as_ref().map(z),
    }
}

/// `y`, the gradient of `x` and those of the parameters, started at `start`.
fn run(case: &Case, precision: Precision, keep: bool, start: f32) -> [Vec<f32>; 3] {
    let (p, scales) = (case.parameters(), case.scales());
    let n = case.rows() * case.d;
    let (x, mut dy) = (values(n, 91), values(n, 92));
    let shape = case.shape(&scales, precision);
    let mut y = vec![f32::NAN; n];
    let saved = forward(&x, &p.each(Vec::as_slice), &shape, &mut y);
    let mut g = zeros_like(&p, start);
    backward(
        &x,
        &p.each(Vec::as_slice),
        &shape,
        keep.then_some(saved),
        &mut dy,
        &mut g,
    );
    [y, dy, all(&g)]
}

/// The same out of the kernels for its parts, each of which is held against its own reference.
fn by_parts(case: &Case) -> [Vec<f32>; 3] {
    let (p, scales) = (case.parameters(), case.scales());
    let (rows, d, h) = (case.rows(), case.d, case.hidden);
    let f32s = Precision::F32;
    let (x, dy) = (values(rows * d, 91), values(rows * d, 92));
    let new = |n: usize| vec![0.0f32; n];
    let scale = scales.as_deref();

    let (mut n1, mut mean1, mut rstd1) = (new(rows * d), new(rows), new(rows));
    layer_norm::forward(
        &x,
        &p.norm1_weight,
        &p.norm1_bias,
        EPS,
        &mut n1,
        &mut mean1,
        &mut rstd1,
    );
    let mut qkv = new(rows * 3 * d);
    linear::forward(
        &n1,
        &p.qkv_weight,
        Some(&p.qkv_bias),
        &mut qkv,
        d,
        3 * d,
        f32s,
    );
    let (mut a, mut lse) = (new(rows * d), new(rows * case.heads));
    attention::forward(&qkv, &case.groups, case.heads, d, &mut a, &mut lse, f32s);
    let mut f1 = new(rows * d);
    linear::forward(&a, &p.proj_weight, Some(&p.proj_bias), &mut f1, d, d, f32s);
    let mut m = new(rows * d);
    residual::forward(&x, &f1, p.gain1.as_deref(), scale, d, &mut m);
    let (mut n2, mut mean2, mut rstd2) = (new(rows * d), new(rows), new(rows));
    layer_norm::forward(
        &m,
        &p.norm2_weight,
        &p.norm2_bias,
        EPS,
        &mut n2,
        &mut mean2,
        &mut rstd2,
    );
    let (mut inner, mut act) = (new(rows * h), new(rows * h));
    linear::forward(
        &n2,
        &p.fc1_weight,
        Some(&p.fc1_bias),
        &mut inner,
        d,
        h,
        f32s,
    );
    activation::forward(Activation::Gelu, &inner, &mut act);
    let mut f2 = new(rows * d);
    linear::forward(&act, &p.fc2_weight, Some(&p.fc2_bias), &mut f2, h, d, f32s);
    let mut y = new(rows * d);
    residual::forward(&m, &f2, p.gain2.as_deref(), scale, d, &mut y);

    let mut g = zeros_like(&p, 0.0);
    let mut dm = dy.clone();
    let mut df = new(rows * d);
    residual::backward(
        &f2,
        p.gain2.as_deref(),
        scale,
        &dy,
        d,
        &mut df,
        g.gain2.as_deref_mut(),
    );
    let (mut dact, mut dinner) = (new(rows * h), new(rows * h));
    linear::backward_params(
        &df,
        &act,
        &mut g.fc2_weight,
        Some(&mut g.fc2_bias),
        h,
        d,
        f32s,
    );
    linear::backward_input(&df, &p.fc2_weight, &mut dact, h, d, f32s);
    activation::backward(Activation::Gelu, &inner, &dact, &mut dinner);
    linear::backward_params(
        &dinner,
        &n2,
        &mut g.fc1_weight,
        Some(&mut g.fc1_bias),
        d,
        h,
        f32s,
    );
    let mut dn2 = new(rows * d);
    linear::backward_input(&dinner, &p.fc1_weight, &mut dn2, d, h, f32s);
    let (dgain, dbias) = (&mut g.norm2_weight, &mut g.norm2_bias);
    layer_norm::backward(
        &m,
        &p.norm2_weight,
        &mean2,
        &rstd2,
        &dn2,
        &mut dm,
        dgain,
        dbias,
    );
    let (mut dx, mut df) = (dm.clone(), new(rows * d));
    residual::backward(
        &f1,
        p.gain1.as_deref(),
        scale,
        &dm,
        d,
        &mut df,
        g.gain1.as_deref_mut(),
    );
    linear::backward_params(
        &df,
        &a,
        &mut g.proj_weight,
        Some(&mut g.proj_bias),
        d,
        d,
        f32s,
    );
    let (mut da, mut dqkv, mut dn1) = (new(rows * d), new(rows * 3 * d), new(rows * d));
    linear::backward_input(&df, &p.proj_weight, &mut da, d, d, f32s);
    attention::backward(
        &qkv,
        &a,
        &lse,
        &da,
        &case.groups,
        case.heads,
        d,
        &mut dqkv,
        f32s,
    );
    linear::backward_params(
        &dqkv,
        &n1,
        &mut g.qkv_weight,
        Some(&mut g.qkv_bias),
        d,
        3 * d,
        f32s,
    );
    linear::backward_input(&dqkv, &p.qkv_weight, &mut dn1, d, 3 * d, f32s);
    let (dgain, dbias) = (&mut g.norm1_weight, &mut g.norm1_bias);
    layer_norm::backward(
        &x,
        &p.norm1_weight,
        &mean1,
        &rstd1,
        &dn1,
        &mut dx,
        dgain,
        dbias,
    );
    [y, dx, all(&g)]
}

#[test]
fn agrees_with_its_parts() {
    for case in cases() {
        let expected = by_parts(&case);
        for keep in [true, false] {
            let found = run(&case, Precision::F32, keep, 0.0);
            for (what, (found, expected)) in ["y", "dx", "parameters"]
                .iter()
                .zip(found.iter().zip(&expected))
            {
                assert_close(what, found, &wide(expected), 2e-5);
            }
        }
    }
}

#[test]
fn parameters_gradients_are_added() {
    for case in cases() {
        let [_, _, from_zero] = run(&case, Precision::F32, true, 0.0);
        let [_, _, from_two] = run(&case, Precision::F32, true, 2.0);
        let expected: Vec<f64> = from_zero.iter().map(|v| f64::from(*v) + 2.0).collect();
        assert_close("gradients", &from_two, &expected, 1e-5);
    }
}

#[test]
fn computing_again_gives_the_same_bits() {
    for case in cases() {
        for precision in [Precision::F32, Precision::Bf16] {
            assert_eq!(
                run(&case, precision, true, 0.0),
                run(&case, precision, false, 0.0)
            );
        }
    }
}

#[test]
fn bf16_is_near_f32() {
    for case in cases() {
        let exact = run(&case, Precision::F32, true, 0.0);
        let rounded = run(&case, Precision::Bf16, true, 0.0);
        for (exact, rounded) in exact.iter().zip(&rounded) {
            let norm = |x: &mut dyn Iterator<Item = f32>| x.map(|v| v * v).sum::<f32>().sqrt();
            let error = norm(&mut exact.iter().zip(rounded).map(|(a, b)| a - b));
            let size = norm(&mut exact.iter().copied());
            assert!(error < 0.02 * size, "error {error} of {size}");
            assert!(error > 1e-5 * size, "nothing was rounded");
        }
    }
}

#[test]
fn threads_do_not_change_the_result() {
    let case = &cases()[3];
    for precision in [Precision::F32, Precision::Bf16] {
        same_on_any_pool(|| run(case, precision, true, 0.0).concat());
    }
    same_on_any_pool(|| run_some(case, &[0, 3, 49, 60, 61], false).concat());
}

/// The rows `wanted` of `y`, the gradient of `x` and those of the parameters, for a loss that reads those rows alone.
fn run_some(case: &Case, wanted: &[u32], whole: bool) -> [Vec<f32>; 3] {
    let (p, scales, d) = (case.parameters(), case.scales(), case.d);
    let (p, mut g) = (p.each(Vec::as_slice), zeros_like(&p, 0.0));
    let shape = case.shape(&scales, Precision::F32);
    let n = case.rows() * d;
    let (x, mut dy) = (values(n, 91), values(wanted.len() * d, 92));
    let mut y = vec![f32::NAN; if whole { n } else { wanted.len() * d }];
    if !whole {
        let saved = some_rows::forward(&x, &p, &shape, wanted, &mut y);
        let mut dx = vec![0.0; n];
        some_rows::backward(&x, &p, &shape, wanted, saved, &mut dy, &mut dx, &mut g);
        return [y, dx, all(&g)];
    }
    let saved = forward(&x, &p, &shape, &mut y);
    let mut dx = vec![0.0; n];
    gather::rows_backward(&dy, wanted, d, &mut dx);
    backward(&x, &p, &shape, Some(saved), &mut dx, &mut g);
    let mut picked = vec![0.0; wanted.len() * d];
    gather::rows_forward(&y, wanted, d, &mut picked);
    [picked, dx, all(&g)]
}

#[test]
fn some_rows_are_those_of_the_whole() {
    for case in cases() {
        let rows = case.rows() as u32;
        for wanted in [
            vec![],
            vec![rows - 1],
            (0..rows).filter(|r| r % 3 != 1).collect(),
            // A row may be wanted twice.
            vec![0, 2, 2, 2, rows - 1],
            (0..rows).collect(),
        ] {
            let found = run_some(&case, &wanted, false);
            let expected = run_some(&case, &wanted, true);
            for (what, (found, expected)) in ["y", "dx", "parameters"]
                .iter()
                .zip(found.iter().zip(&expected))
            {
                assert_close(what, found, &wide(expected), 2e-5);
            }
        }
    }
}

#[test]
#[should_panic(expected = "block: row 13 of 13 is wanted")]
fn a_row_that_does_not_exist_is_refused() {
    run_some(&cases()[0], &[2, 13], false);
}

#[test]
#[should_panic(expected = "block: the wanted rows do not ascend")]
fn rows_out_of_order_are_refused() {
    run_some(&cases()[0], &[2, 1], false);
}

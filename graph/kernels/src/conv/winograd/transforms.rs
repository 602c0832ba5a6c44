//! The transforms of F(2 x 2, 3 x 3), a register of channels at a time, and their transposes.

use super::ELEMENTS;
use crate::lanes::{Lanes, LANES};

// Closures, and so `array::map` and `from_fn`, would be compiled without the instruction set's features.
on_lanes! {
    /// `G g G^T` of every channel: 3 x 3 taps to elements that are `apart` in `out`.
    pub(super) fn filter<V>(g: &[&[f32]; 9], out: &mut [f32], apart: usize) {
        let n = g[0].len();
        for c in (0..n).step_by(LANES) {
            let columns = [
                to_filters(taps::<V>(g, 0, c)),
                to_filters(taps::<V>(g, 1, c)),
                to_filters(taps::<V>(g, 2, c)),
            ];
            for y in 0..4 {
                let line = to_filters(across(&columns, y));
                for (x, value) in line.into_iter().enumerate() {
                    let at = (4 * y + x) * apart;
                    put(value, &mut out[at..at + n][c..], false);
                }
            }
        }
    }

    /// `B^T d B` of every channel: 4 x 4 locations to [elements, channels].
    pub(super) fn input<V>(d: &[&[f32]; ELEMENTS], out: &mut [f32]) {
        let n = d[0].len();
        assert!(n.is_multiple_of(LANES) && out.len() == ELEMENTS * n, "winograd: whole registers");
        assert!(d.iter().all(|location| location.len() == n), "winograd: equal locations");
        for c in (0..n).step_by(LANES) {
            let columns = [
                to_elements(column::<V>(d, 0, c)),
                to_elements(column::<V>(d, 1, c)),
                to_elements(column::<V>(d, 2, c)),
                to_elements(column::<V>(d, 3, c)),
            ];
            let lines = [
                to_elements(across(&columns, 0)),
                to_elements(across(&columns, 1)),
                to_elements(across(&columns, 2)),
                to_elements(across(&columns, 3)),
            ];
            for (y, line) in lines.into_iter().enumerate() {
                for (x, value) in line.into_iter().enumerate() {
                    let at = (4 * y + x) * n + c;
                    value.store(out[at..].first_chunk_mut().expect("whole registers"));
                }
            }
        }
    }

    /// `A^T m A` of every channel: elements to 2 x 2 locations, of which those beyond the border are empty.
    pub(super) fn output<V>(m: &[&[f32]; ELEMENTS], y: &mut [&mut [f32]; 4], accumulate: bool) {
        let n = m[0].len();
        assert!(n.is_multiple_of(LANES), "winograd: whole registers");
        assert!(m.iter().all(|element| element.len() == n), "winograd: equal elements");
        for c in (0..n).step_by(LANES) {
            let columns = [
                from_elements(column::<V>(m, 0, c)),
                from_elements(column::<V>(m, 1, c)),
                from_elements(column::<V>(m, 2, c)),
                from_elements(column::<V>(m, 3, c)),
            ];
            let [y0, y1] = from_elements(across(&columns, 0));
            let [y2, y3] = from_elements(across(&columns, 1));
            for (y, value) in y.iter_mut().zip([y0, y1, y2, y3]) {
                put(value, y.get_mut(c..).unwrap_or_default(), accumulate);
            }
        }
    }

    /// `A dY A^T` of every channel, the transpose of [`output`]: 2 x 2 locations to [elements, channels].
    pub(super) fn of_gradient<V>(dy: &[&[f32]; 4], out: &mut [f32]) {
        let n = dy[0].len();
        assert!(n.is_multiple_of(LANES) && out.len() == ELEMENTS * n, "winograd: whole registers");
        assert!(dy.iter().all(|location| location.len() == n), "winograd: equal locations");
        for c in (0..n).step_by(LANES) {
            let left = spread::<V>([load(dy[0], c), load(dy[2], c)]);
            let right = spread::<V>([load(dy[1], c), load(dy[3], c)]);
            for y in 0..4 {
                for (x, value) in spread([left[y], right[y]]).into_iter().enumerate() {
                    let at = (4 * y + x) * n + c;
                    value.store(out[at..].first_chunk_mut().expect("whole registers"));
                }
            }
        }
    }

    /// `dw += G^T dU G` of every channel, the transpose of [`filter`]: elements that are `apart` to [taps, channels].
    pub(super) fn to_taps<V>(elements: &[f32], apart: usize, dw: &mut [f32]) {
        let n = dw.len() / 9;
        for c in (0..n).step_by(LANES) {
            let mut columns = [[V::splat(0.0); 3]; 4];
            for (x, column) in columns.iter_mut().enumerate() {
                *column = gathered([
                    load(elements, x * apart + c),
                    load(elements, (4 + x) * apart + c),
                    load(elements, (8 + x) * apart + c),
                    load(elements, (12 + x) * apart + c),
                ]);
            }
            for y in 0..3 {
                for (x, value) in gathered(across(&columns, y)).into_iter().enumerate() {
                    put(value, &mut dw[(3 * y + x) * n + c..], true);
                }
            }
        }
    }
}

/// One column of 3 x 3, as many channels as there are from `c` on.
#[inline(always)]
fn taps<V: Lanes>(of: &[&[f32]; 9], x: usize, c: usize) -> [V; 3] {
    let mut column = [V::splat(0.0); 3];
    for (y, value) in column.iter_mut().enumerate() {
        let from = &of[3 * y + x][c..];
        *value = match from.first_chunk() {
            Some(from) => V::load(from),
            None => {
                let mut values = [0.0; LANES];
                values[..from.len()].copy_from_slice(from);
                V::load(&values)
            }
        };
    }
    column
}

/// One column of 4 x 4, one register from `c` on.
#[inline(always)]
fn column<V: Lanes>(of: &[&[f32]; ELEMENTS], x: usize, c: usize) -> [V; 4] {
    [
        load(of[x], c),
        load(of[4 + x], c),
        load(of[8 + x], c),
        load(of[12 + x], c),
    ]
}

#[inline(always)]
fn load<V: Lanes>(from: &[f32], at: usize) -> V {
    V::load(from[at..].first_chunk().expect("whole registers"))
}

/// The elements `i` of some columns.
#[inline(always)]
fn across<V: Lanes, const N: usize, const M: usize>(columns: &[[V; N]; M], i: usize) -> [V; M] {
    let mut line = [columns[0][i]; M];
    for (value, column) in line.iter_mut().zip(columns) {
        *value = column[i];
    }
    line
}

/// `G` times a column.
#[inline(always)]
fn to_filters<V: Lanes>([a, b, c]: [V; 3]) -> [V; 4] {
    let (half, ends) = (V::splat(0.5), a.add(c));
    [a, ends.add(b).mul(half), ends.sub(b).mul(half), c]
}

/// `B^T` times a column.
#[inline(always)]
fn to_elements<V: Lanes>([a, b, c, d]: [V; 4]) -> [V; 4] {
    [a.sub(c), b.add(c), c.sub(b), b.sub(d)]
}

/// `A^T` times a column.
#[inline(always)]
fn from_elements<V: Lanes>([a, b, c, d]: [V; 4]) -> [V; 2] {
    [a.add(b).add(c), b.sub(c).sub(d)]
}

/// `A` times a column.
#[inline(always)]
fn spread<V: Lanes>([a, b]: [V; 2]) -> [V; 4] {
    [a, a.add(b), a.sub(b), V::splat(0.0).sub(b)]
}

/// `G^T` times a column.
#[inline(always)]
fn gathered<V: Lanes>([a, b, c, d]: [V; 4]) -> [V; 3] {
    let half = V::splat(0.5);
    let sum = b.add(c).mul(half);
    [a.add(sum), b.sub(c).mul(half), sum.add(d)]
}

/// Writes or adds as many values as there are elements.
#[inline(always)]
fn put<V: Lanes>(value: V, to: &mut [f32], accumulate: bool) {
    if let Some(to) = to.first_chunk_mut() {
        let sum = if accumulate {
            value.add(V::load(to))
        } else {
            value
        };
        sum.store(to);
        return;
    }
    let mut values = [0.0; LANES];
    value.store(&mut values);
    for (to, value) in to.iter_mut().zip(values) {
        *to = if accumulate { *to + value } else { value };
    }
}

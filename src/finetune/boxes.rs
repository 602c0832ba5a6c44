//! Boxes `[x0, y0, x1, y1]`: area, and generalised IoU with its gradient.

/// Width times height, 0 for an inside-out box.
pub fn area([x0, y0, x1, y1]: [f32; 4]) -> f32 {
    (x1 - x0).max(0.0) * (y1 - y0).max(0.0)
}

/// The middle.
pub fn centre([x0, y0, x1, y1]: [f32; 4]) -> (f32, f32) {
    ((x0 + x1) / 2.0, (y0 + y1) / 2.0)
}

/// Whether a point lies strictly inside.
pub fn contains([x0, y0, x1, y1]: [f32; 4], x: f32, y: f32) -> bool {
    x0 < x && x < x1 && y0 < y && y < y1
}

/// Generalised IoU of a predicted box `p` with a box `t` (Rezatofighi et al. 2019) and its gradient with
/// respect to `p`: `IoU - (hull - union) / hull`. Both boxes must have positive area.
pub fn giou(p: [f32; 4], t: [f32; 4]) -> (f32, [f32; 4]) {
    const EPS: f32 = 1e-7;
    let (pw, ph) = (p[2] - p[0], p[3] - p[1]);
    let (iw, ih) = (
        p[2].min(t[2]) - p[0].max(t[0]),
        p[3].min(t[3]) - p[1].max(t[1]),
    );
    let (cw, ch) = (
        p[2].max(t[2]) - p[0].min(t[0]),
        p[3].max(t[3]) - p[1].min(t[1]),
    );
    let meets = iw > 0.0 && ih > 0.0;
    let common = if meets { iw * ih } else { 0.0 };
    let union = pw * ph + area(t) - common + EPS;
    let hull = cw * ch + EPS;
    let value = common / union + union / hull - 1.0;

    // Partial derivatives of the three areas with respect to the sides of p.
    let d_area = [-ph, -pw, ph, pw];
    let d_common = if meets {
        [
            if p[0] > t[0] { -ih } else { 0.0 },
            if p[1] > t[1] { -iw } else { 0.0 },
            if p[2] < t[2] { ih } else { 0.0 },
            if p[3] < t[3] { iw } else { 0.0 },
        ]
    } else {
        [0.0; 4]
    };
    let d_hull = [
        if p[0] < t[0] { -ch } else { 0.0 },
        if p[1] < t[1] { -cw } else { 0.0 },
        if p[2] > t[2] { ch } else { 0.0 },
        if p[3] > t[3] { cw } else { 0.0 },
    ];
    let gradient = std::array::from_fn(|i| {
        let d_union = d_area[i] - d_common[i];
        d_common[i] / union - common * d_union / (union * union) + d_union / hull
            - union * d_hull[i] / (hull * hull)
    });
    (value, gradient)
}

#[cfg(test)]
mod tests {
    use super::*;
    use intertwine_detect::iou;

    #[test]
    fn worked_values() {
        let a = [0.0, 0.0, 2.0, 2.0];
        assert_eq!(iou(a, a), 1.0);
        assert!((iou(a, [1.0, 1.0, 3.0, 3.0]) - 1.0 / 7.0).abs() < 1e-6);
        // union 7, hull 9: 1/7 - 2/9
        assert!((giou(a, [1.0, 1.0, 3.0, 3.0]).0 - (1.0 / 7.0 - 2.0 / 9.0)).abs() < 1e-5);
        // apart: no common area, hull 4 x 1 = 4, union 2: 0 - 2/4
        assert!((giou([0.0, 0.0, 1.0, 1.0], [3.0, 0.0, 4.0, 1.0]).0 + 0.5).abs() < 1e-5);
        assert_eq!(iou([0.0; 4], [0.0; 4]), 0.0);
        assert_eq!(area([2.0, 0.0, 1.0, 1.0]), 0.0);
    }

    #[test]
    fn giou_gradient_matches_finite_differences() {
        let boxes = [
            ([0.0, 0.0, 2.0, 2.0], [1.0, 1.1, 3.0, 3.0]),
            ([0.5, 0.5, 1.0, 1.2], [0.0, 0.0, 2.0, 2.0]),
            ([0.0, 0.0, 3.0, 3.0], [1.0, 1.0, 2.0, 2.5]),
            ([0.0, 0.0, 1.0, 1.0], [3.0, 0.2, 4.0, 1.5]),
        ];
        for (p, t) in boxes {
            let (_, gradient) = giou(p, t);
            for i in 0..4 {
                let at = |d: f32| {
                    let mut q = p;
                    q[i] += d;
                    giou(q, t).0
                };
                let numeric = (at(1e-2) - at(-1e-2)) / 2e-2;
                assert!(
                    (numeric - gradient[i]).abs() < 2e-3,
                    "{p:?} {t:?} side {i}: {} against {numeric}",
                    gradient[i]
                );
            }
        }
    }
}

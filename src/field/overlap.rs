//! Boxes that may reach beyond what they are a part of.

/// What an area shows of an axis of the source, and where that comes to lie on the output's axis, to
/// the nearest pixel; each as (start, length).
pub(crate) struct Overlap {
    /// In pixels of the source.
    pub(crate) from: (usize, usize),
    /// In pixels of the output.
    pub(crate) to: (usize, usize),
}

impl Overlap {
    pub(crate) fn new(start: i32, length: u32, source: u32, output: u32) -> Self {
        let (start, length) = (i64::from(start), i64::from(length));
        let first = start.clamp(0, i64::from(source));
        let last = (start + length).clamp(first, i64::from(source));
        let scaled = |at: i64| {
            let at = (at - start).clamp(0, length) as f64 / length as f64;
            (at * f64::from(output)).round() as usize
        };
        let (to_first, to_last) = (scaled(first), scaled(last));
        Overlap {
            from: (first as usize, (last - first) as usize),
            to: (to_first, to_last - to_first),
        }
    }

    /// Whether nothing is shown.
    pub(crate) fn is_empty(&self) -> bool {
        self.from.1 == 0 || self.to.1 == 0
    }
}

//! An axis of a plot: its range, where a value lies on it, and its ticks.

/// A range of finite values, `low < high`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Axis {
    /// Ends, as decimal logarithms if `log`.
    low: f64,
    high: f64,
    log: bool,
}

/// Values beyond are drawn at the end: their differences would overflow.
const LARGEST: f64 = 1e300;

impl Axis {
    /// An axis that holds `values`, with `margin` times their range free on either side; `None` without
    /// values.
    pub(super) fn linear(values: impl Iterator<Item = f64>, margin: f64) -> Option<Self> {
        let (low, high) = bounds(values.map(|v| v.clamp(-LARGEST, LARGEST)))?;
        let range = high - low;
        // A range within rounding of the values has no room for ticks: widen it.
        let wider = if range <= 1e-9 * low.abs().max(high.abs()) || range < 1e-290 {
            (0.1 * low.abs().max(high.abs())).max(if low.abs() < 1e-280 { 0.5 } else { 0.0 })
        } else {
            margin * range
        };
        Some(Axis {
            low: low - wider,
            high: high + wider,
            log: false,
        })
    }

    /// The same with a logarithmic scale, for positive values.
    pub(super) fn logarithmic(values: impl Iterator<Item = f64>, margin: f64) -> Option<Self> {
        let (low, high) = bounds(values.map(f64::log10))?;
        let wider = if high - low < 1e-6 {
            0.1
        } else {
            margin * (high - low)
        };
        Some(Axis {
            low: low - wider,
            high: high + wider,
            log: true,
        })
    }

    /// Where a value lies, 0 at the low end and 1 at the high one.
    pub(super) fn at(&self, value: f64) -> f64 {
        let value = if self.log { value.log10() } else { value };
        ((value.clamp(-LARGEST, LARGEST) - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }

    /// About `count` round values on the axis with their labels.
    pub(super) fn ticks(&self, count: usize) -> Vec<(f64, String)> {
        if !self.log {
            return linear_ticks(self.low, self.high, count);
        }
        let decades = self.high - self.low;
        if decades < 0.7 {
            // Less than a factor of five: the axis is nearly linear, and so are its ticks.
            return linear_ticks(10f64.powf(self.low), 10f64.powf(self.high), count);
        }
        // Powers of ten, each or every few; between them 2 and 5 if there is room.
        let every = (decades / count as f64).ceil().max(1.0) as i32;
        let mantissas: &[f64] = if decades * 3.0 <= count as f64 + 3.0 {
            &[1.0, 2.0, 5.0]
        } else {
            &[1.0]
        };
        (self.low.floor() as i32..=self.high.ceil() as i32)
            .filter(|power| power % every == 0)
            .flat_map(|power| mantissas.iter().map(move |m| m * 10f64.powi(power)))
            .filter(|tick| (self.low..=self.high).contains(&tick.log10()))
            .map(|tick| (tick, scientific(tick).unwrap_or_else(|| tick.to_string())))
            .collect()
    }
}

/// Multiples of 1, 2 or 5 times a power of ten.
fn linear_ticks(low: f64, high: f64, count: usize) -> Vec<(f64, String)> {
    let rough = (high - low) / count as f64;
    let power = rough.log10().floor();
    let unit = 10f64.powf(power);
    let step = unit
        * [1.0, 2.0, 5.0, 10.0]
            .into_iter()
            .find(|m| m * unit >= 0.7 * rough)
            .unwrap_or(10.0);
    // As many decimals as the step has, so that neighbouring labels differ.
    let decimals = (-(step * 1.0001).log10().floor()).max(0.0) as usize;
    let first = (low / step).ceil();
    let label = |tick: f64| match scientific(tick) {
        _ if tick == 0.0 => "0".to_owned(),
        Some(text) if decimals > 4 || tick.abs() >= 1e6 => text,
        _ => format!("{tick:.decimals$}"),
    };
    // Multiplied, not added up, so that errors do not grow; the bound holds even where rounding does odd things.
    (0..=2 * count)
        .map(|k| (first + k as f64) * step)
        .take_while(|&tick| tick <= high)
        // Adding 0 makes a negative zero positive.
        .map(|tick| (tick + 0.0, label(tick + 0.0)))
        .collect()
}

/// The short form of a very large or very small number, `None` for others.
fn scientific(v: f64) -> Option<String> {
    let ordinary = v == 0.0 || (1e-3..1e6).contains(&v.abs());
    (!ordinary).then(|| {
        let text = format!("{v:.2e}");
        match text.split_once('e') {
            Some((mantissa, power)) => format!(
                "{}e{power}",
                mantissa.trim_end_matches('0').trim_end_matches('.')
            ),
            None => text,
        }
    })
}

/// Smallest and largest value, `None` if there is none.
fn bounds(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.fold(None, |range, v| {
        let (low, high) = range.unwrap_or((v, v));
        Some((low.min(v), high.max(v)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn labels(axis: Axis, count: usize) -> String {
        axis.ticks(count)
            .into_iter()
            .map(|(_, label)| label)
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn ticks_are_round() {
        let linear = |low, high| Axis::linear([low, high].into_iter(), 0.0).unwrap();
        assert_eq!(labels(linear(0.0, 1.0), 5), "0 0.2 0.4 0.6 0.8 1.0");
        assert_eq!(labels(linear(-3.0, 4.1), 6), "-3 -2 -1 0 1 2 3 4");
        assert_eq!(
            labels(linear(1000.0, 1000.5), 5),
            "1000.0 1000.1 1000.2 1000.3 1000.4 1000.5"
        );
        assert_eq!(labels(linear(0.0, 3e7), 3), "0 1e7 2e7 3e7");
        assert_eq!(labels(linear(0.0, 2e-6), 2), "0 1e-6 2e-6");
        let log = |low, high| Axis::logarithmic([low, high].into_iter(), 0.0).unwrap();
        assert_eq!(labels(log(6.85, 7.55), 6), "6.9 7.0 7.1 7.2 7.3 7.4 7.5");
        assert_eq!(labels(log(0.9, 60.0), 6), "1 2 5 10 20 50");
        assert_eq!(labels(log(1e-5, 1e3), 6), "1e-4 0.01 1 100");
    }

    proptest! {
        #[test]
        fn ticks_lie_on_the_axis_and_rise(
            a in prop::num::f64::NORMAL, b in prop::num::f64::NORMAL, log: bool, count in 2usize..12,
        ) {
            let axis = if log {
                Axis::logarithmic([a.abs(), b.abs()].into_iter(), 0.05)
            } else {
                Axis::linear([a, b].into_iter(), 0.05)
            };
            let axis = axis.unwrap();
            prop_assert!(axis.low < axis.high);
            let ticks = axis.ticks(count);
            prop_assert!(ticks.len() <= 2 * count + 4, "{:?}", ticks);
            prop_assert!(ticks.windows(2).all(|w| w[0].0 < w[1].0), "{:?}", ticks);
            prop_assert!(ticks.iter().all(|t| (0.0..=1.0).contains(&axis.at(t.0))));
        }

        #[test]
        fn ordinary_axes_have_ticks_whose_labels_differ(low in -1e4f64..1e4, range in 1e-3f64..1e5, count in 4usize..10) {
            let axis = Axis::linear([low, low + range].into_iter(), 0.0).unwrap();
            let ticks = axis.ticks(count);
            prop_assert!(ticks.len() >= count / 3 && ticks.len() >= 2, "{:?}", ticks);
            prop_assert!(ticks.windows(2).all(|w| w[0].1 != w[1].1), "{:?}", ticks);
        }
    }
}

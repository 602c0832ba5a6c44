//! Line plots as SVG, bar plots as a table with bars.
//!
//! Written out by hand: `plotters` never returns from some ranges that a diverged run reaches (1e300), and
//! puts no tick on a logarithmic axis that holds no power of ten, as that of most losses does not.
//!
//! Series colours are of middle lightness, so that they can be told from a white page and from a black
//! one; axes and words take the page's own colours from its style sheet.

use super::axis::Axis;
use super::html::escape;
use std::fmt::Write;

/// Colours of the first, second, .. series, used again from the start when they run out.
const SERIES_COLOURS: [&str; 8] = [
    "#3b82e2", "#e26a1c", "#2a9d58", "#c83e78", "#8c68d6", "#1498a4", "#b08614", "#80868e",
];

/// Size of a plot in the units of its picture, and the room around its axes: left, top, right, bottom.
const SIZE: (f64, f64) = (720.0, 300.0);
const MARGIN: (f64, f64, f64, f64) = (68.0, 8.0, 12.0, 44.0);

/// More points than the plot has pixel columns cannot be seen and would bloat the file.
const MAX_POINTS: usize = 1500;

fn series_colour(index: usize) -> &'static str {
    SERIES_COLOURS[index % SERIES_COLOURS.len()]
}

fn legend(html: &mut String, names: &[&str]) {
    if names.len() < 2 {
        return;
    }
    html.push_str("<p class=\"legend\">");
    for (i, name) in names.iter().enumerate() {
        let _ = write!(
            html,
            "<span><i style=\"background:{}\"></i>{}</span>",
            series_colour(i),
            escape(name)
        );
    }
    html.push_str("</p>");
}

/// Curves over one axis.
#[derive(Clone, Debug)]
pub struct LinePlot {
    title: String,
    x_label: String,
    y_label: String,
    log_y: bool,
    series: Vec<(String, Vec<(f64, f64)>)>,
}

impl LinePlot {
    /// A plot without series.
    pub fn new(title: impl Into<String>) -> Self {
        LinePlot {
            title: title.into(),
            x_label: String::new(),
            y_label: String::new(),
            log_y: false,
            series: Vec::new(),
        }
    }

    /// Names the axes, units included.
    pub fn axes(mut self, x: impl Into<String>, y: impl Into<String>) -> Self {
        (self.x_label, self.y_label) = (x.into(), y.into());
        self
    }

    /// Makes the vertical axis logarithmic; values that are not positive are then left out.
    pub fn log_y(mut self) -> Self {
        self.log_y = true;
        self
    }

    /// Adds a curve through the points `(x, y)`, which come in the order of x. It is interrupted where a
    /// value is not finite, as a diverged run's is.
    pub fn series(
        mut self,
        name: impl Into<String>,
        points: impl IntoIterator<Item = (f64, f64)>,
    ) -> Self {
        self.series
            .push((name.into(), points.into_iter().collect()));
        self
    }

    pub(super) fn render(&self, html: &mut String) {
        let _ = write!(
            html,
            "<figure class=\"plot\"><figcaption>{}</figcaption>",
            escape(&self.title)
        );
        let names: Vec<&str> = self.series.iter().map(|(name, _)| name.as_str()).collect();
        legend(html, &names);
        self.draw(html);
        html.push_str("</figure>");
    }

    /// Each series as the pieces between its gaps.
    fn pieces(&self) -> Vec<Vec<Vec<(f64, f64)>>> {
        let shown =
            |&(x, y): &(f64, f64)| x.is_finite() && y.is_finite() && (!self.log_y || y > 0.0);
        self.series
            .iter()
            .map(|(_, points)| {
                points
                    .split(|p| !shown(p))
                    .filter(|piece| !piece.is_empty())
                    .map(|piece| thin(piece, MAX_POINTS))
                    .collect()
            })
            .collect()
    }

    fn draw(&self, html: &mut String) {
        let pieces = self.pieces();
        let all = || pieces.iter().flatten().flatten();
        let (Some(x), Some(y)) = (
            Axis::linear(all().map(|p| p.0), 0.0),
            self.y_axis(all().map(|p| p.1)),
        ) else {
            html.push_str("<p class=\"note\">Nothing to plot: no finite values.</p>");
            return;
        };
        let (left, top) = (MARGIN.0, MARGIN.1);
        let (width, height) = (SIZE.0 - left - MARGIN.2, SIZE.1 - top - MARGIN.3);
        let place =
            |(px, py): (f64, f64)| (left + width * x.at(px), top + height * (1.0 - y.at(py)));
        let (right, bottom) = (left + width, top + height);
        let _ = write!(
            html,
            "<svg viewBox=\"0 0 {} {}\" width=\"{0}\" height=\"{1}\" role=\"img\" aria-label=\"{}\">",
            SIZE.0,
            SIZE.1,
            escape(&self.title)
        );
        for (tick, label) in y.ticks(6) {
            let py = top + height * (1.0 - y.at(tick));
            let _ = write!(
                html,
                "<path class=\"grid\" d=\"M{left} {py:.1}H{right}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
                left - 6.0,
                py + 4.0
            );
        }
        for (tick, label) in x.ticks(8) {
            let px = left + width * x.at(tick);
            let _ = write!(
                html,
                "<path class=\"grid\" d=\"M{px:.1} {top}V{bottom}\"/>\
                 <text x=\"{px:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>",
                bottom + 16.0
            );
        }
        let (middle_x, middle_y) = (left + width / 2.0, top + height / 2.0);
        let _ = write!(
            html,
            "<path class=\"axis\" d=\"M{left} {top}V{bottom}H{right}\"/>\
             <text x=\"{middle_x}\" y=\"{}\" text-anchor=\"middle\">{}</text>\
             <text transform=\"translate(14 {middle_y}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            SIZE.1 - 6.0,
            escape(&self.x_label),
            escape(&self.y_label)
        );
        for (i, series) in pieces.iter().enumerate() {
            let colour = series_colour(i);
            for piece in series {
                if let [point] = piece[..] {
                    let (px, py) = place(point);
                    let _ = write!(
                        html,
                        "<circle cx=\"{px:.1}\" cy=\"{py:.1}\" r=\"3\" fill=\"{colour}\"/>"
                    );
                    continue;
                }
                let _ = write!(
                    html,
                    "<polyline class=\"line\" stroke=\"{colour}\" points=\""
                );
                for &point in piece {
                    let (px, py) = place(point);
                    let _ = write!(html, "{px:.1},{py:.1} ");
                }
                html.push_str("\"/>");
            }
        }
        html.push_str("</svg>");
    }

    fn y_axis(&self, values: impl Iterator<Item = f64>) -> Option<Axis> {
        if self.log_y {
            Axis::logarithmic(values, 0.05)
        } else {
            Axis::linear(values, 0.05)
        }
    }
}

/// At most about `limit` points that look the same: the lowest and the highest of each run of neighbours,
/// so that no spike is lost, and the two ends.
fn thin(points: &[(f64, f64)], limit: usize) -> Vec<(f64, f64)> {
    if points.len() <= limit {
        return points.to_vec();
    }
    let (first, last) = (points[0], points[points.len() - 1]);
    let mut kept = vec![first];
    let inner = &points[1..points.len() - 1];
    for run in inner.chunks(inner.len().div_ceil(limit / 2)) {
        let lowest = (0..run.len()).min_by(|&a, &b| run[a].1.total_cmp(&run[b].1));
        let highest = (0..run.len()).max_by(|&a, &b| run[a].1.total_cmp(&run[b].1));
        let (Some(a), Some(b)) = (lowest, highest) else {
            continue;
        };
        kept.push(run[a.min(b)]);
        if a != b {
            kept.push(run[a.max(b)]);
        }
    }
    kept.push(last);
    kept
}

/// Bars that start at zero, one group for each name, one bar in it for each series.
#[derive(Clone, Debug)]
pub struct BarPlot {
    title: String,
    series: Vec<String>,
    groups: Vec<(String, Vec<f64>)>,
}

impl BarPlot {
    /// A plot of these series, without bars.
    pub fn new<S: Into<String>>(
        title: impl Into<String>,
        series: impl IntoIterator<Item = S>,
    ) -> Self {
        let series = series.into_iter().map(Into::into).collect();
        BarPlot {
            title: title.into(),
            series,
            groups: Vec::new(),
        }
    }

    /// Adds a group: its name and a value for each series. A value that is negative or not finite (an AP
    /// that does not exist is -1) is shown as a dash.
    pub fn group(mut self, name: impl Into<String>, values: impl IntoIterator<Item = f64>) -> Self {
        self.groups
            .push((name.into(), values.into_iter().collect()));
        self
    }

    pub(super) fn render(&self, html: &mut String) {
        let title = escape(&self.title);
        let _ = write!(
            html,
            "<figure class=\"plot\"><figcaption>{title}</figcaption>"
        );
        let names: Vec<&str> = self.series.iter().map(String::as_str).collect();
        legend(html, &names);
        let drawn = |v: f64| v.is_finite() && v >= 0.0;
        let longest = self
            .groups
            .iter()
            .flat_map(|(_, v)| v)
            .copied()
            .filter(|&v| drawn(v))
            .fold(0.0, f64::max);
        html.push_str("<table class=\"bars\"><tbody>");
        for (name, values) in &self.groups {
            let _ = write!(html, "<tr><th scope=\"row\">{}</th><td>", escape(name));
            for (i, &value) in values.iter().enumerate() {
                let share = if drawn(value) && longest > 0.0 {
                    100.0 * value / longest
                } else {
                    0.0
                };
                let text = if drawn(value) {
                    format!("{value:.3}")
                } else {
                    "–".into()
                };
                let _ = write!(
                    html,
                    "<div class=\"bar\"><i style=\"width:{:.2}%;background:{}\"></i><b>{text}</b></div>",
                    0.86 * share,
                    series_colour(i)
                );
            }
            html.push_str("</td></tr>");
        }
        html.push_str("</tbody></table></figure>");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinning_keeps_ends_order_and_spikes() {
        let mut points: Vec<(f64, f64)> = (0..100_000)
            .map(|i| (f64::from(i), f64::from(i % 7)))
            .collect();
        points[31_415].1 = 1e3;
        points[27_182].1 = -1e3;
        let thinned = thin(&points, 1000);
        assert!(thinned.len() <= 1004, "{}", thinned.len());
        assert!(thinned.windows(2).all(|w| w[0].0 < w[1].0));
        assert_eq!(
            (thinned[0], thinned[thinned.len() - 1]),
            (points[0], points[99_999])
        );
        assert!(thinned.contains(&points[31_415]) && thinned.contains(&points[27_182]));
    }

    #[test]
    fn a_curve_is_interrupted_where_it_is_not_a_number() {
        let plot = LinePlot::new("t").log_y().series(
            "a",
            [
                (0.0, 1.0),
                (1.0, 2.0),
                (2.0, f64::NAN),
                (3.0, 1.0),
                (4.0, -1.0),
                (5.0, 3.0),
                (6.0, 4.0),
            ],
        );
        let lengths: Vec<usize> = plot.pieces()[0].iter().map(Vec::len).collect();
        assert_eq!(lengths, [2, 1, 2]);
        let mut html = String::new();
        plot.render(&mut html);
        assert_eq!(
            (
                html.matches("<circle").count(),
                html.matches("<polyline").count()
            ),
            (1, 2)
        );
        assert!(!html.contains("NaN"));
    }

    #[test]
    fn points_land_where_the_axes_say() {
        let mut html = String::new();
        LinePlot::new("t")
            .series("a", [(0.0, 0.0), (5.0, 1.0), (10.0, 2.0)])
            .render(&mut html);
        // Ends at the plot's sides; the margin of 5% keeps the values off its bottom and top: 248 units
        // high from 8, so 0 lies at 256 - 248 * 0.1 / 2.2, and 1 in the middle.
        assert!(
            html.contains("points=\"68.0,244.7 388.0,132.0 708.0,19.3 \""),
            "{html}"
        );
    }

    #[test]
    fn degenerate_plots_draw() {
        let render = |plot: LinePlot| {
            let mut html = String::new();
            plot.render(&mut html);
            assert!(!html.contains("NaN") && !html.contains("inf"), "{html}");
            html
        };
        let flat = LinePlot::new("t").series("a", [(0.0, 2.0), (1.0, 2.0)]);
        assert!(render(flat.clone()).contains("<polyline"));
        assert!(render(flat.log_y()).contains("<polyline"));
        let none = LinePlot::new("t").series("a", [(f64::NAN, 0.0)]);
        assert!(render(none).contains("Nothing to plot"));
        for extreme in [
            f64::MAX,
            -f64::MAX,
            f64::MIN_POSITIVE,
            5e-324,
            1e-300,
            1e300,
        ] {
            for plot in [LinePlot::new("t"), LinePlot::new("t").log_y()] {
                let html =
                    render(plot.series("a", [(0.0, extreme), (extreme, 1.0), (1.0, -extreme)]));
                assert!(html.matches("<text").count() < 40, "{html}");
            }
        }
    }
}

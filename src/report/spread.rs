//! Plots of what several runs gave: each run a dot, their mean a bar, a line for each group.

use std::fmt::Write;

use super::axis::Axis;
use super::html::escape;

/// Width of the plot, of the names at its left, and of the room at its right, in the units of its picture.
const WIDTH: f64 = 720.0;
const LEFT: f64 = 130.0;
const RIGHT: f64 = 16.0;
/// Height of a line, and of the axis below.
const LINE: f64 = 26.0;
const BELOW: f64 = 40.0;

/// Values of groups over one axis.
#[derive(Clone, Debug)]
pub struct SpreadPlot {
    title: String,
    unit: String,
    groups: Vec<(String, Vec<f64>)>,
}

impl SpreadPlot {
    /// A plot without groups.
    pub fn new(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            unit: String::new(),
            groups: Vec::new(),
        }
    }

    /// Names the unit of the values.
    pub fn unit(mut self, unit: impl Into<String>) -> Self {
        self.unit = unit.into();
        self
    }

    /// Adds a group below the others: its name and values. Those that are not finite are left out.
    pub fn group(mut self, name: impl Into<String>, values: impl IntoIterator<Item = f64>) -> Self {
        let values = values.into_iter().filter(|v| v.is_finite()).collect();
        self.groups.push((name.into(), values));
        self
    }

    pub(super) fn render(&self, html: &mut String) {
        let title = escape(&self.title);
        let _ = write!(
            html,
            "<figure class=\"plot\"><figcaption>{title}</figcaption>"
        );
        let values = self.groups.iter().flat_map(|(_, values)| values).copied();
        match Axis::linear(values, 0.05) {
            None => html.push_str("<p class=\"note\">Nothing to plot: no finite values.</p>"),
            Some(axis) => self.draw(html, &axis),
        }
        html.push_str("</figure>");
    }

    fn draw(&self, html: &mut String, axis: &Axis) {
        let bottom = LINE * self.groups.len() as f64;
        let right = WIDTH - RIGHT;
        let place = |value: f64| LEFT + (right - LEFT) * axis.at(value);
        let _ = write!(
            html,
            "<svg viewBox=\"0 0 {WIDTH} {0}\" width=\"{WIDTH}\" height=\"{0}\" role=\"img\" aria-label=\"{1}\">",
            bottom + BELOW,
            escape(&self.title)
        );
        for (tick, label) in axis.ticks(8) {
            let x = place(tick);
            let _ = write!(
                html,
                "<path class=\"grid\" d=\"M{x:.1} 0V{bottom}\"/>\
                 <text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{label}</text>",
                bottom + 16.0
            );
        }
        let _ = write!(
            html,
            "<path class=\"axis\" d=\"M{LEFT} 0V{bottom}H{right}\"/>\
             <text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            (LEFT + right) / 2.0,
            bottom + 34.0,
            escape(&self.unit)
        );
        for (i, (name, values)) in self.groups.iter().enumerate() {
            let y = LINE * (i as f64 + 0.5);
            let _ = write!(
                html,
                "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 8.0,
                y + 4.0,
                escape(name)
            );
            for &value in values {
                let _ = write!(
                    html,
                    "<circle cx=\"{:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"#3b82e2\" fill-opacity=\".65\"/>",
                    place(value)
                );
            }
            if !values.is_empty() {
                let mean = values.iter().sum::<f64>() / values.len() as f64;
                let _ = write!(
                    html,
                    "<path stroke=\"#e26a1c\" stroke-width=\"2.5\" d=\"M{:.1} {:.1}v{:.1}\"/>",
                    place(mean),
                    y - 9.0,
                    18.0
                );
            }
        }
        html.push_str("</svg>");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_is_a_dot_and_each_group_has_a_mean() {
        let mut html = String::new();
        SpreadPlot::new("AP")
            .group("a<b", [0.0, 10.0])
            .group("none", [])
            .group("odd", [f64::NAN, 5.0])
            .render(&mut html);
        let count = |what: &str| html.matches(what).count();
        assert_eq!((count("<circle"), count("stroke-width")), (3, 2));
        // The means, 5 and 5, lie in the middle of the axis from 130 to 704.
        assert_eq!(count("stroke-width=\"2.5\" d=\"M417.0 "), 2, "{html}");
        assert!(html.contains("a&lt;b") && !html.contains("NaN"));
    }

    #[test]
    fn a_plot_of_nothing_says_so() {
        let mut html = String::new();
        SpreadPlot::new("AP").group("a", []).render(&mut html);
        assert!(html.contains("Nothing to plot"));
    }
}

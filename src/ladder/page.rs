//! The table of a ladder, for a person.

use std::fmt::Write;

use super::results::{mean_and_deviation, Failure, Kind, Results, Rung};
use super::Plan;
use crate::report::{Report, Section, SpreadPlot, Table};

/// The rung that the paper's deltas are against.
const BASE: &str = "dinov2-in1k";

/// The tables as Markdown.
pub(super) fn markdown(results: &Results) -> String {
    let mut out = markdown_table(results, rows(results));
    let _ = write!(out, "\n{ABOUT}\n");
    for remark in remarks(results) {
        let _ = write!(out, "\n{remark}\n");
    }
    if let Some(rows) = differences(results) {
        let _ = write!(out, "\nDifference to `{BASE}`, seed by seed:\n\n");
        out.push_str(&markdown_table(results, rows));
    }
    out
}

fn markdown_table(results: &Results, rows: Vec<Vec<String>>) -> String {
    let head = head(results);
    let rule = vec!["---".to_owned(); head.len()];
    let lines = [head, rule].into_iter().chain(rows);
    lines
        .map(|cells| format!("| {} |\n", cells.join(" | ")))
        .collect()
}

/// The same for a browser, which must not break a cell.
fn html_table(results: &Results, rows: Vec<Vec<String>>) -> Table {
    let unbroken = |cell: String| cell.replace(' ', "\u{a0}");
    let rows = rows
        .into_iter()
        .map(|row| row.into_iter().map(unbroken).collect::<Vec<_>>());
    Table::new(head(results)).rows(rows)
}

const ABOUT: &str = "Mean over seeds ± standard deviation of a seed (n - 1), and of how many seeds if not of all. A percentage in a heading is the share of \
the labels that was learnt from. A seed decides the weights, the order and views of the pictures, and which of them are \
labelled. Figures other than AP are of the pretrained encoder.";

/// The report.
pub(super) fn html(results: &Results, plan: &Plan) -> Report {
    let mut section = Section::new("What came out")
        .text(ABOUT)
        .table(html_table(results, rows(results)));
    for remark in remarks(results) {
        section = section.text(remark);
    }
    for (i, kind) in results.kinds.iter().enumerate() {
        let unit = if kind.percent { "%" } else { "" };
        let plot =
            results
                .rungs
                .iter()
                .fold(SpreadPlot::new(&kind.name).unit(unit), |plot, rung| {
                    plot.group(
                        &rung.name,
                        rung.figures[i].iter().map(|(_, v)| shown(kind, *v)),
                    )
                });
        section = section.spread_plot(plot);
    }
    let mut report = Report::new("The ablation ladder").section(section);
    if let Some(rows) = differences(results) {
        report = report.section(
            Section::new("Against the base")
                .text(format!(
                    "Difference to {BASE}, seed by seed: mean ± deviation of one seed. That of the mean is so much over the \
                     root of the number of seeds; a difference below twice that says nothing."
                ))
                .table(html_table(results, rows)),
        );
    }
    let config = toml::to_string(&plan.base).expect("a plan is plain data");
    report.section(Section::new("Config").code(config))
}

fn head(results: &Results) -> Vec<String> {
    let kinds = results.kinds.iter().map(|kind| kind.name.clone());
    std::iter::once("rung".to_owned()).chain(kinds).collect()
}

/// What the table does not say: settings that rungs have chosen, and runs that came to nothing.
fn remarks(results: &Results) -> Vec<String> {
    let of = |rung: &Rung| {
        let chosen = (!rung.settings.is_empty())
            .then(|| format!("`{}` chose {}.", rung.name, rung.settings.join(", ")));
        let failures = rung.failures.iter().map(|Failure { seed, labels, why }| {
            let with = labels
                .as_ref()
                .map(|labels| format!(" with {labels} of the labels"));
            let with = with.unwrap_or_default();
            format!("`{}`, seed {seed}, has no figures{with}: {why}", rung.name)
        });
        chosen.into_iter().chain(failures).collect::<Vec<_>>()
    };
    results.rungs.iter().flat_map(of).collect()
}

/// A row a rung.
fn rows(results: &Results) -> Vec<Vec<String>> {
    let row = |rung: &Rung| {
        let kinds = results.kinds.iter().zip(&rung.figures);
        let cells = kinds.map(|(kind, figures)| {
            let values: Vec<f64> = figures.iter().map(|(_, v)| *v).collect();
            cell(kind, &values, results.seeds, false)
        });
        std::iter::once(rung.name.clone()).chain(cells).collect()
    };
    results.rungs.iter().map(row).collect()
}

/// The rows of the differences to the base, if that is one of the rungs.
fn differences(results: &Results) -> Option<Vec<Vec<String>>> {
    let base = results.rungs.iter().find(|rung| rung.name == BASE)?;
    let others = results.rungs.iter().filter(|rung| rung.name != BASE);
    let rows = others.map(|rung| {
        let cells = results.kinds.iter().enumerate();
        let cells = cells.map(|(i, kind)| {
            let differences = results.differences(i, rung, base);
            cell(kind, &differences, results.seeds, true)
        });
        std::iter::once(rung.name.clone()).chain(cells).collect()
    });
    Some(rows.collect())
}

fn shown(kind: &Kind, value: f64) -> f64 {
    if kind.percent {
        100.0 * value
    } else {
        value
    }
}

/// Mean and spread of some figures, and of how many of how many seeds if not of all.
fn cell(kind: &Kind, values: &[f64], seeds: usize, signed: bool) -> String {
    let values: Vec<f64> = values.iter().map(|&v| shown(kind, v)).collect();
    let digits = kind.digits;
    let number = |v: f64| match signed {
        true => format!("{v:+.digits$}"),
        false => format!("{v:.digits$}"),
    };
    let of = match values.len() {
        all if all == seeds => String::new(),
        some => format!(" ({some} of {seeds})"),
    };
    match mean_and_deviation(&values) {
        None => "–".to_owned(),
        Some((mean, None)) => number(mean) + &of,
        Some((mean, Some(deviation))) => format!("{} ± {deviation:.digits$}{of}", number(mean)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results() -> Results {
        let rung = |name: &str, ap: &[(u64, f64)], rank: &[(u64, f64)]| Rung {
            name: name.into(),
            settings: Vec::new(),
            figures: vec![ap.to_vec(), rank.to_vec()],
            failures: Vec::new(),
        };
        let kind = |name: &str, percent| Kind {
            name: name.into(),
            percent,
            digits: 1,
        };
        Results {
            kinds: vec![kind("AP", true), kind("rank", false)],
            seeds: 2,
            rungs: vec![
                rung("scratch", &[(0, 0.25), (1, 0.23)], &[]),
                rung(BASE, &[(0, 0.27), (1, 0.24)], &[(0, 40.0)]),
            ],
        }
    }

    #[test]
    fn the_table_tells_mean_spread_and_difference() {
        let text = markdown(&results());
        assert!(
            text.starts_with("| rung | AP | rank |\n| --- | --- | --- |\n"),
            "{text}"
        );
        assert!(text.contains("| scratch | 24.0 ± 1.4 | – |\n"), "{text}");
        assert!(
            text.contains("| dinov2-in1k | 25.5 ± 2.1 | 40.0 (1 of 2) |\n"),
            "{text}"
        );
        // (0.25 - 0.27, 0.23 - 0.24): -1.5 in the mean.
        assert!(text.contains("| scratch | -1.5 ± 0.7 | – |\n"), "{text}");
    }
}

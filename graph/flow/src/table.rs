//! The counters as tables: where the time of the stages and of the consumer went, and how it adds up.

use std::fmt::{self, Display};
use std::time::Duration;

use crate::counters::{milliseconds_each, share};
use crate::Stats;

/// Numbers with a heading and a name in each row, to be printed (as aligned text) or set otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The headings.
    pub head: Vec<String>,
    /// The rows, each as long as `head`; the first column is the name, the last row the sum.
    pub rows: Vec<Vec<String>>,
}

impl Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = || std::iter::once(&self.head).chain(&self.rows);
        let width = |column: usize| {
            let cells = rows().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        for row in rows() {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let width = width(column);
                line += &match column {
                    0 => format!("{cell:<width$}"),
                    _ => format!("  {cell:>width$}"),
                };
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

impl Stats {
    /// The work on items, on all threads: a row for each stage, and their sum.
    pub fn work_table(&self) -> Table {
        let all = self.busy();
        // Inline, the caller's time between two items is not known, and the share is that of the work.
        let (whole, of) = match self.window {
            0 => (all, "of the work".to_owned()),
            _ => (
                self.wall() * self.threads as u32,
                format!("of {}", threads(self.threads)),
            ),
        };
        let mut rows: Vec<Vec<String>> = self
            .stages
            .iter()
            .map(|stage| {
                vec![
                    stage.name.into(),
                    stage.items.to_string(),
                    format!("{:.3}", milliseconds_each(stage.busy, stage.items)),
                    seconds(stage.busy),
                    percent(stage.busy, whole),
                ]
            })
            .collect();
        rows.push(vec![
            "all stages".into(),
            String::new(),
            String::new(),
            seconds(all),
            percent(all, whole),
        ]);
        let head = ["stage", "items", "ms each", "s", &of];
        Table {
            head: head.map(String::from).into(),
            rows,
        }
    }

    /// The time of the consumer's thread: what makes it up, and the sum.
    pub fn consumer_table(&self) -> Table {
        let wall = self.wall();
        let parts = [
            ("at work", self.consumer_busy),
            ("on items, in gaps of its own parallel work", self.lent),
            ("waiting for items", self.waiting),
            ("on items, instead of waiting", self.helping),
            ("the whole run", wall),
        ];
        Table {
            head: vec![
                format!("the thread of {}", self.sink),
                "s".into(),
                "of its time".into(),
            ],
            rows: parts
                .map(|(name, time)| vec![name.into(), seconds(time), percent(time, wall)])
                .into(),
        }
    }

    /// The sentence that says whether the data are the bottleneck.
    pub fn verdict(&self) -> String {
        let waited = self.wait_share();
        let verdict = match waited < KEPT_UP {
            true => "the data kept up",
            false => "the data was too slow",
        };
        format!(
            "{verdict}: {} waited for it {:.1}% of the time; its stages took {:.1}% of {}",
            self.sink,
            100.0 * waited,
            100.0 * self.data_share(),
            threads(self.threads)
        )
    }
}

/// Share of a run that its sink may wait for items before they are called too slow.
const KEPT_UP: f64 = 0.1;

fn seconds(time: Duration) -> String {
    format!("{:.3}", time.as_secs_f64())
}

fn percent(part: Duration, whole: Duration) -> String {
    format!("{:.1} %", 100.0 * share(part, whole))
}

fn threads(count: usize) -> String {
    match count {
        1 => "1 thread".into(),
        n => format!("{n} threads"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StageStats;

    fn stats() -> Stats {
        let ms = Duration::from_millis;
        let stage = |name, items, busy| StageStats {
            name,
            items,
            busy: ms(busy),
        };
        Stats {
            stages: vec![stage("Shards", 100, 20), stage("Crop", 100, 125)],
            sink: "Step",
            threads: 2,
            consumed: 25,
            consumer_busy: ms(940),
            lent: ms(35),
            waiting: ms(5),
            helping: ms(20),
            window: 8,
            ..Stats::default()
        }
    }

    #[test]
    fn the_tables_add_up() {
        assert_eq!(
            stats().work_table().to_string(),
            "stage       items  ms each      s  of 2 threads
Shards        100    0.200  0.020         1.0 %
Crop          100    1.250  0.125         6.2 %
all stages                  0.145         7.2 %
"
        );
        assert_eq!(
            stats().consumer_table().to_string(),
            "the thread of Step                              s  of its time
at work                                     0.940       94.0 %
on items, in gaps of its own parallel work  0.035        3.5 %
waiting for items                           0.005        0.5 %
on items, instead of waiting                0.020        2.0 %
the whole run                               1.000      100.0 %
"
        );
        assert_eq!(
            stats().verdict(),
            "the data kept up: Step waited for it 2.5% of the time; its stages took 7.2% of 2 threads"
        );
        let slow = Stats {
            waiting: Duration::from_secs(1),
            ..stats()
        };
        assert!(slow
            .verdict()
            .starts_with("the data was too slow: Step waited for it 5"));
    }

    #[test]
    fn a_run_without_time_divides_by_nothing() {
        let nothing = Stats::default();
        assert_eq!((nothing.wait_share(), nothing.data_share()), (0.0, 0.0));
        assert!(nothing.consumer_table().to_string().contains("0.0 %"));
    }
}

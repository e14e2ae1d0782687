//! Results for people, and for programs.

use super::results::FIO_PREFIX;
use super::{Results, SUBJECTS};
use daxfs_bench::rows::{Goal, ROWS, Row, Unit};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// The file system that others are compared with.
const BASELINE: &str = SUBJECTS[0];

/// The one that this is about.
const OURS: &str = SUBJECTS[SUBJECTS.len() - 1];

/// A table.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct Table {
    /// What executed Linux's instructions.
    pub machine: String,
    /// Which Linux.
    pub kernel: String,
    /// How often everything was done; numbers are medians.
    pub passes: u32,
    rows: Vec<Line>,
    /// Throughput that fio measured.
    fio: Vec<Line>,
}

/// A row with its numbers.
#[derive(Clone, PartialEq, Serialize, Debug)]
struct Line {
    name: String,
    unit: &'static str,
    values: BTreeMap<&'static str, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    goal: Option<Wanted>,
}

#[derive(Clone, Copy, PartialEq, Serialize, Debug)]
struct Value {
    value: f64,
    /// In relation to that of tmpfs.
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio: Option<f64>,
}

#[derive(Clone, PartialEq, Serialize, Debug)]
struct Wanted {
    /// At most this.
    text: String,
    met: bool,
}

impl Table {
    /// Puts it together. Goals are for counted instructions: elsewhere there are none.
    #[must_use]
    pub fn new(
        results: &Results,
        machine: String,
        kernel: String,
        passes: u32,
        with_goals: bool,
    ) -> Self {
        let rows = ROWS.iter().filter_map(|row| {
            let goal = with_goals.then(|| wanted(row, results)).flatten();
            line(results, row.name, row.name, unit(row.unit), goal)
        });
        let rows = rows.collect();
        let fio = results
            .fio_rows()
            .filter_map(|name| line(results, &format!("{FIO_PREFIX}{name}"), name, "KiB/s", None));
        Self { fio: fio.collect(), machine, kernel, passes, rows }
    }

    /// The rows whose goals are missed.
    pub fn missed(&self) -> impl Iterator<Item = &str> {
        let missed = |line: &&Line| line.goal.as_ref().is_some_and(|goal| !goal.met);
        self.rows.iter().filter(missed).map(|line| &*line.name)
    }
}

const fn unit(unit: Unit) -> &'static str {
    match unit {
        Unit::Microseconds => "us",
        Unit::Kibibytes => "KiB",
    }
}

/// A row's numbers, if there are any.
fn line(
    results: &Results,
    row: &str,
    name: &str,
    unit: &'static str,
    goal: Option<Wanted>,
) -> Option<Line> {
    let baseline = results.value(row, BASELINE).filter(|&value| value > 0.0 && unit != "KiB");
    let values = SUBJECTS.into_iter().filter_map(|subject| {
        let value = results.value(row, subject)?;
        let ratio = baseline.filter(|_| subject != BASELINE).map(|baseline| value / baseline);
        Some((subject, Value { value, ratio }))
    });
    let values: BTreeMap<_, _> = values.collect();
    let name = name.to_owned();
    (!values.is_empty()).then_some(Line { name, unit, values, goal })
}

/// What is wanted of a row, and whether it is so; nothing if it cannot be said.
fn wanted(row: &Row, results: &Results) -> Option<Wanted> {
    let ours = results.value(row.name, OURS)?;
    let (text, met) = match row.goal {
        Goal::Ratio(most) => {
            // As it is shown.
            let ratio = (ours / results.value(row.name, BASELINE)? * 100.0).round() / 100.0;
            (format!("{most:.2}x"), ratio <= most)
        }
        Goal::Peer(peer) => (peer.to_owned(), ours <= results.value(row.name, peer)?),
        Goal::Value(most) => (format!("{most} {}", unit(row.unit)), ours <= most),
    };
    Some(Wanted { text, met })
}

/// As Markdown.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { machine, kernel, passes, rows, fio } = self;
        let of = if *passes > 1 { format!(", medians of {passes} passes") } else { String::new() };
        writeln!(
            f,
            "{machine}, Linux {kernel}{of}. Per operation; in brackets: times {BASELINE}."
        )?;
        write_lines(f, "operation", rows)?;
        if !fio.is_empty() {
            writeln!(f, "\nThroughput by fio; in brackets: times {BASELINE}, more is better.")?;
            write_lines(f, "job", fio)?;
        }
        Ok(())
    }
}

fn write_lines(f: &mut fmt::Formatter<'_>, heading: &str, lines: &[Line]) -> fmt::Result {
    let with_goals = lines.iter().any(|line| line.goal.is_some());
    write!(f, "\n| {heading} | {} |", SUBJECTS.join(" | "))?;
    writeln!(f, "{}", if with_goals { " wanted |" } else { "" })?;
    writeln!(f, "|{}", "---|".repeat(1 + SUBJECTS.len() + usize::from(with_goals)))?;
    for line in lines {
        write!(f, "| {} |", line.name)?;
        for subject in SUBJECTS {
            match line.values.get(subject) {
                None => f.write_str(" - |")?,
                Some(Value { value, ratio }) => {
                    write!(f, " {} {}", Short(*value), line.unit)?;
                    match ratio {
                        Some(ratio) => write!(f, " ({ratio:.2}x) |")?,
                        None => f.write_str(" |")?,
                    }
                }
            }
        }
        if with_goals {
            match &line.goal {
                None => f.write_str(" |")?,
                Some(Wanted { text, met: true }) => write!(f, " {text} |")?,
                Some(Wanted { text, met: false }) => write!(f, " **{text}, missed** |")?,
            }
        }
        writeln!(f)?;
    }
    Ok(())
}

/// A number with three digits that count.
struct Short(f64);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.abs() {
            value if value >= 100.0 => write!(f, "{:.0}", self.0),
            value if value >= 10.0 => write!(f, "{:.1}", self.0),
            _ => write!(f, "{:.2}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str, with_goals: bool) -> Table {
        let results = Results::read(text).unwrap();
        Table::new(&results, "A machine".to_owned(), "7.3".to_owned(), 1, with_goals)
    }

    const TEXT: &str = "tmpfs\tseq read 4k\t2\ndaxfs\tseq read 4k\t1\nerofs\tunlink\t3\n\
        tmpfs\tunlink\t100\ndaxfs\tunlink\t99.44\ndaxfs\tbranch create\t15\n";

    #[test]
    fn ratios_are_to_tmpfs_and_missed_goals_are_told() {
        let table = table(TEXT, true);
        let text = table.to_string();
        for expected in [
            "| operation | tmpfs | ext4-dax | erofs | overlay | daxfs | wanted |\n|---|---|---|---|---|---|---|\n",
            "\n| seq read 4k | 2.00 us | - | - | - | 1.00 us (0.50x) | 0.68x |\n",
            "\n| unlink | 100 us | - | 3.00 us (0.03x) | - | 99.4 us (0.99x) | **0.73x, missed** |\n",
            "\n| branch create | - | - | - | - | 15.0 us | 15 us |\n",
        ] {
            assert!(text.contains(expected), "{text}");
        }
        assert_eq!(table.missed().collect::<Vec<_>>(), ["unlink"]);
    }

    #[test]
    fn programs_get_the_same_numbers() {
        let json = serde_json::to_value(table(TEXT, true)).unwrap();
        assert_eq!(json["rows"][0]["values"]["daxfs"]["ratio"], 0.5);
        assert_eq!(json["rows"][1]["goal"]["met"], false);
    }

    #[test]
    fn without_counted_instructions_there_are_no_goals() {
        let text = table(&format!("{TEXT}tmpfs\tfio: read\t5\n"), false).to_string();
        assert!(!text.contains("wanted"), "{text}");
        assert!(text.contains("| read | 5.00 KiB/s |"), "{text}");
    }
}

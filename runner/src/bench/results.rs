//! What came out of measurements.

use std::collections::BTreeMap;

/// Stands before the names of rows that fio measured.
pub(super) const FIO_PREFIX: &str = "fio: ";

/// A line that is no result.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("this is no result of a measurement: '{0}'")]
pub struct Unreadable(String);

/// Results, by row and file system.
#[derive(Clone, Default, PartialEq, Debug)]
pub struct Results {
    values: BTreeMap<(String, String), Vec<f64>>,
    /// fio's rows, in the order in which they came.
    fio_rows: Vec<String>,
}

impl Results {
    /// Reads lines of a file system's name, a row's and a number, separated by tabs.
    ///
    /// # Errors
    ///
    /// [`Unreadable`].
    pub fn read(text: &str) -> Result<Self, Unreadable> {
        let mut results = Self::default();
        for line in text.lines() {
            let (subject, row, value) = fields(line).ok_or_else(|| Unreadable(line.to_owned()))?;
            if let Some(row) = row.strip_prefix(FIO_PREFIX)
                && !results.fio_rows.iter().any(|known| known == row)
            {
                results.fio_rows.push(row.to_owned());
            }
            let key = (row.to_owned(), subject.to_owned());
            results.values.entry(key).or_default().push(value);
        }
        Ok(results)
    }

    /// The median of all passes.
    #[must_use]
    pub fn value(&self, row: &str, subject: &str) -> Option<f64> {
        let mut values = self.values.get(&(row.to_owned(), subject.to_owned()))?.clone();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let sum = values.get(middle)? + values.get((values.len() - 1) / 2)?;
        Some(sum / 2.0)
    }

    /// The rows of fio, without the prefix.
    pub fn fio_rows(&self) -> impl Iterator<Item = &str> {
        self.fio_rows.iter().map(String::as_str)
    }
}

fn fields(line: &str) -> Option<(&str, &str, f64)> {
    let mut fields = line.split('\t');
    let (subject, row, value) = (fields.next()?, fields.next()?, fields.next()?.parse().ok()?);
    fields.next().is_none().then_some((subject, row, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_passes_the_median_counts() {
        let results = Results::read("a\tx\t9\na\tx\t1\na\tx\t2\nb\tx\t1\nb\tx\t2\n").unwrap();
        assert_eq!(results.value("x", "a"), Some(2.0));
        assert_eq!(results.value("x", "b"), Some(1.5));
        assert_eq!(results.value("y", "a"), None);
    }

    #[test]
    fn a_line_that_is_no_result_is_an_error() {
        for line in ["", "a\tb", "a\tb\tc", "a\tb\t1\t2"] {
            assert_eq!(Results::read(&format!("{line}\n")), Err(Unreadable(line.to_owned())));
        }
    }

    #[test]
    fn rows_of_fio_keep_their_order() {
        let results = Results::read("a\tfio: z\t1\na\tfio: b\t2\nb\tfio: z\t1\n").unwrap();
        assert_eq!(results.fio_rows().collect::<Vec<_>>(), ["z", "b"]);
    }
}

//! Time, and the lines that are printed.

use crate::Result;
use daxfs_bench::rows;
use std::time::Instant;

/// Where results go.
#[derive(Debug)]
pub struct Report {
    subject: String,
}

impl Report {
    /// For this file system.
    pub fn new(subject: &str) -> Self {
        Self { subject: subject.to_owned() }
    }

    /// A result.
    pub fn row(&self, name: &str, value: f64) -> Result<()> {
        if rows::find(name).is_none() {
            return Err(format!("there is no row '{name}'").into());
        }
        println!("{}\t{name}\t{value:.4}", self.subject);
        Ok(())
    }
}

/// How many microseconds one of `count` operations takes that are done together.
pub fn each<E>(
    count: usize,
    operations: impl FnOnce() -> std::result::Result<(), E>,
) -> std::result::Result<f64, E> {
    let begin = Instant::now();
    operations()?;
    Ok(begin.elapsed().as_nanos() as f64 / 1000.0 / count as f64)
}

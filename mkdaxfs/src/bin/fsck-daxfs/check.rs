//! Checking, and saying what was found.

use crate::args::{Arguments, FAILED, PROBLEMS};
use daxfs::std_platform::StdPlatform;
use daxfs::{Summary, validate};
use mkdaxfs::cli::{ImageFile, Tool, ToolError, count, finish_output, print_json};
use serde::Serialize;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

const TOOL: Tool = Tool("fsck-daxfs");

pub(crate) fn run(args: &Arguments) -> ExitCode {
    match check(&args.file) {
        Ok((problems, summary)) => {
            let written = if args.json {
                print_json(&Document::new(&args.file, &problems, &summary))
            } else {
                print_text(&args.file, &problems, &summary)
            };
            let code = if problems.is_empty() { 0 } else { PROBLEMS };
            finish_output(written, ExitCode::from(code))
        }
        Err(error) => {
            TOOL.error(error);
            ExitCode::from(FAILED)
        }
    }
}

fn check(path: &Path) -> Result<(Vec<String>, Summary), ToolError> {
    let image = ImageFile::open(path)?;
    let region = image.region()?;
    let mut problems = Vec::new();
    let summary =
        validate(&StdPlatform, &region, &mut |problem| problems.push(problem.to_string()))
            .map_err(ToolError::about(image.name()))?;
    Ok((problems, summary))
}

fn print_text(path: &Path, problems: &[String], summary: &Summary) -> io::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let name = path.display();
    for problem in problems {
        writeln!(out, "{name}: {problem}")?;
    }
    let verdict = match problems.len() as u64 {
        0 => "clean".to_owned(),
        problems => count(problems, "problem"),
    };
    writeln!(
        out,
        "{name}: {verdict} ({}, {}, {}, {})",
        count(summary.inodes, "inode"),
        count(summary.dirents, "directory entry"),
        count(summary.branches, "branch"),
        count(summary.log_entries, "log entry"),
    )?;
    out.flush()
}

#[derive(Serialize)]
struct Document<'a> {
    file: String,
    clean: bool,
    problems: &'a [String],
    inodes: u64,
    dirents: u64,
    branches: u64,
    log_entries: u64,
}

impl<'a> Document<'a> {
    fn new(path: &Path, problems: &'a [String], summary: &Summary) -> Self {
        Self {
            file: path.display().to_string(),
            clean: problems.is_empty(),
            problems,
            inodes: summary.inodes,
            dirents: summary.dirents,
            branches: summary.branches,
            log_entries: summary.log_entries,
        }
    }
}

//! From arguments to a build, and from its report to text.

use crate::args::{Arguments, USAGE};
use crate::watch::{Signals, Watch};
use mkdaxfs::cli::{Tool, count, finish_output, print_json};
use mkdaxfs::{
    BuildError, BuildOptions, BuildReport, DEFAULT_DELTA_SIZE, DeltaSize, build, format_size,
};
use serde::Serialize;
use std::borrow::Cow;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

const TOOL: Tool = Tool("mkdaxfs");

pub(crate) fn run(args: &Arguments) -> ExitCode {
    let source_date_epoch = match source_date_epoch() {
        Ok(epoch) => epoch,
        Err(message) => {
            TOOL.error(message);
            return ExitCode::from(USAGE);
        }
    };
    let options = BuildOptions {
        writable: args
            .writable
            .then(|| DeltaSize::Bytes(args.delta_size.unwrap_or(DEFAULT_DELTA_SIZE))),
        large_alignment: args.align_large,
        source_date_epoch,
        uuid: args.uuid.map(uuid::Uuid::into_bytes),
        threads: args.threads,
    };
    let signals = match Signals::watch() {
        Ok(signals) => signals,
        Err(e) => {
            TOOL.error(format_args!("cannot watch for signals: {e}"));
            return ExitCode::FAILURE;
        }
    };
    let watch = Watch::new(&signals, args.quiet);
    let result = build(&args.directory, &args.output, &options, &watch);
    watch.clear();
    match result {
        Ok(_) if args.quiet => ExitCode::SUCCESS,
        Ok(report) if args.json => finish_output(print_document(args, &report), ExitCode::SUCCESS),
        Ok(report) => finish_output(print_text(&args.output, &report), ExitCode::SUCCESS),
        Err(BuildError::Cancelled) => {
            TOOL.error(BuildError::Cancelled);
            signals.exit_code()
        }
        Err(e) => {
            TOOL.error(e);
            ExitCode::FAILURE
        }
    }
}

fn source_date_epoch() -> Result<Option<u64>, String> {
    match std::env::var_os("SOURCE_DATE_EPOCH") {
        None => Ok(None),
        Some(value) => match value.to_str().map(str::parse) {
            Some(Ok(seconds)) => Ok(Some(seconds)),
            _ => Err(format!(
                "SOURCE_DATE_EPOCH is {value:?}; it must be a number of seconds since the epoch"
            )),
        },
    }
}

fn print_document(args: &Arguments, report: &BuildReport) -> io::Result<()> {
    #[derive(Serialize)]
    struct Document<'a> {
        output: Cow<'a, str>,
        writable: bool,
        #[serde(flatten)]
        report: &'a BuildReport,
    }
    let output = args.output.to_string_lossy();
    print_json(&Document { output, writable: args.writable, report })
}

fn print_text(output: &Path, report: &BuildReport) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let kind = if report.delta_bytes > 0 {
        format!(
            "{} base image, {} delta region",
            format_size(report.base_bytes),
            format_size(report.delta_bytes)
        )
    } else {
        "static".to_owned()
    };
    writeln!(
        out,
        "{}: {} ({kind}), made in {:.2} s",
        output.display(),
        format_size(report.image_bytes),
        report.elapsed.as_secs_f64(),
    )?;
    writeln!(
        out,
        "{}, {}, {}, {}",
        count(report.files, "file"),
        count(report.directories, "directory"),
        count(report.symlinks, "symbolic link"),
        count(report.special, "special file"),
    )?;
    if report.deduplicated_files > 0 {
        writeln!(
            out,
            "{} share the content of another one: {} of {} not stored",
            count(report.deduplicated_files, "file"),
            format_size(report.saved_bytes),
            format_size(report.data_bytes),
        )?;
    }
    Ok(())
}

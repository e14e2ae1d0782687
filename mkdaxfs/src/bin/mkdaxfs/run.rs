//! From arguments to a build, and from its report to text.

use crate::args::{Arguments, Destination, Memory, NOT_MOUNTED, USAGE};
use crate::watch::{Signals, Watch};
use mkdaxfs::cli::{Tool, complain, count, finish_output, print_json};
use mkdaxfs::{
    BuildError, BuildOptions, BuildReport, Claims, DeltaSize, MountError, Range, RangeError, build,
    build_into, format_size,
};
use serde::Serialize;
use std::borrow::Cow;
use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
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
    let destination = match args.destination() {
        Ok(destination) => destination,
        Err(error) => return complain(&error, USAGE),
    };
    let signals = match Signals::watch() {
        Ok(signals) => signals,
        Err(e) => {
            TOOL.error(format_args!("cannot watch for signals: {e}"));
            return ExitCode::FAILURE;
        }
    };
    let options = BuildOptions {
        writable: None,
        large_alignment: args.align_large,
        source_date_epoch,
        uuid: args.uuid.map(uuid::Uuid::into_bytes),
        threads: args.threads,
    };
    match make(args, destination, options, &signals) {
        Ok(made) => {
            let code = made.mounted.map_or_else(
                |e| {
                    TOOL.error(e);
                    ExitCode::from(NOT_MOUNTED)
                },
                |()| ExitCode::SUCCESS,
            );
            match (args.quiet, args.json) {
                (true, _) => code,
                (_, true) => finish_output(print_document(args, &made.place, &made.report), code),
                _ => finish_output(print_text(&made.place, &made.report), code),
            }
        }
        Err(Failure::Build(BuildError::Cancelled)) => {
            TOOL.error(BuildError::Cancelled);
            signals.exit_code()
        }
        Err(e) => {
            TOOL.error(e);
            ExitCode::FAILURE
        }
    }
}

/// What was made.
struct Made {
    /// Where it is, for people.
    place: String,
    report: BuildReport,
    /// Whether it was mounted, if it was to be.
    mounted: Result<(), MountError>,
}

/// Why nothing was made.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error(transparent)]
    Range(#[from] RangeError),
    #[error("{path:?}: cannot be mounted on: {reason}")]
    MountPoint { path: PathBuf, reason: io::Error },
}

fn make(
    args: &Arguments,
    destination: Destination<'_>,
    options: BuildOptions,
    signals: &Signals,
) -> Result<Made, Failure> {
    let source = &args.directory;
    let writable =
        |default| args.writable.then(|| args.delta_size.map_or(default, DeltaSize::Bytes));
    let memory = match destination {
        Destination::File(path) => {
            let options = BuildOptions { writable: writable(DeltaSize::default()), ..options };
            let watch = Watch::new(signals, args.quiet);
            let report = build(source, path, &options, &watch)?;
            let place = path.display().to_string();
            return Ok(Made { place, report, mounted: Ok(()) });
        }
        Destination::Memory(memory) => memory,
    };
    // Later it would be too late.
    if let Some(path) = &args.mount {
        let failed = |reason| Failure::MountPoint { path: path.clone(), reason };
        fs::read_dir(path).map_err(failed)?;
    }
    let claims = if args.force { Claims::Ignore } else { Claims::Respect };
    let (range, mut place) = match memory {
        Memory::Device(path, size) => {
            (Range::device(path, size, claims)?, path.display().to_string())
        }
        Memory::Heap(heap, size) => (Range::allocate(heap, size)?, heap.display().to_string()),
        Memory::Physical(start, size) => {
            (Range::physical(start, size, claims)?, format!("phys={start:#x},size={size:#x}"))
        }
    };
    let options = BuildOptions { writable: writable(DeltaSize::FillTo(range.size())), ..options };
    let watch = Watch::new(signals, args.quiet);
    let report = build_into(source, &range, &options, &watch)?;
    drop(watch);
    let mounted = match &args.mount {
        Some(path) => range.mount(path, args.writable).map(|()| {
            place = format!("{place} on {}", path.display());
        }),
        None => Ok(()),
    };
    Ok(Made { place, report, mounted })
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

fn print_document(args: &Arguments, place: &str, report: &BuildReport) -> io::Result<()> {
    #[derive(Serialize)]
    struct Document<'a> {
        output: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        mounted_on: Option<Cow<'a, str>>,
        writable: bool,
        #[serde(flatten)]
        report: &'a BuildReport,
    }
    let mounted_on = args.mount.as_ref().map(|path| path.to_string_lossy());
    print_json(&Document { output: place, mounted_on, writable: args.writable, report })
}

fn print_text(place: &str, report: &BuildReport) -> io::Result<()> {
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
        "{place}: {} ({kind}), made in {:.2} s",
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

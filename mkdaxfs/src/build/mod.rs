//! The builder: from a source tree to an image, in steps that each own one file here.
//!
//! 1. [`scan`] lists the tree: names and attributes of everything, no contents ([`tree`]).
//! 2. [`contents`] finds out which files share their content, reading as little as it can.
//! 3. [`layout`] decides where everything lies. From here on the image's bytes are determined.
//! 4. [`write`] reads the contents and writes them, and the structures that [`encode`] makes, to
//!    their places, in parallel.
//! 5. [`output`] gives the finished file its name.
//!
//! # Invariants
//!
//! - Every content comes through [`source`], which compares the file with what the scan saw before
//!   and after reading: an image never holds a mixture of two states of a file.
//! - Memory grows with the number of files, never with their sizes: contents pass through one
//!   window per thread.
//! - Nothing but the tree and the options decides the bytes of an image; threads only decide when
//!   they are written. (A writable image's random uuid is the one exception, by design.)

mod contents;
mod encode;
mod layout;
mod output;
mod scan;
mod source;
mod tree;
mod write;

use crate::error::{BuildError, Result};
use crate::options::BuildOptions;
use crate::progress::Progress;
use crate::report::BuildReport;
use contents::Contents;
use daxfs_format::mode::FileType;
use layout::Layout;
use output::Output;
use std::path::Path;
use std::time::Instant;
use tree::Tree;

/// Makes an image of the directory tree at `source` and puts it at `output`, replacing a file that
/// is there.
///
/// Symbolic links are stored, not followed; file systems mounted below `source` are included. The
/// image appears at `output` whole and synced, or not at all.
///
/// # Errors
///
/// [`BuildError`]; what was at `output` is still there then.
pub fn build(
    source: &Path,
    output: &Path,
    options: &BuildOptions,
    progress: &dyn Progress,
) -> Result<BuildReport> {
    let started = Instant::now();
    let workers = workers(options)?;
    let output = Output::create(output)?;
    let tree = workers.install(|| scan::scan(source, &output, progress))?;
    let contents = workers.install(|| contents::identify(&tree, progress))?;
    let layout = Layout::new(&tree, &contents, options)?;
    let written =
        workers.install(|| write::write(&tree, &layout, options, output.file(), progress))?;
    if progress.cancelled() {
        return Err(BuildError::Cancelled);
    }
    output.publish()?;
    Ok(report(&tree, &contents, &layout, written.uuid, started))
}

fn workers(options: &BuildOptions) -> Result<rayon::ThreadPool> {
    // rayon takes 0 for "as many as there are processors".
    let threads = options.threads.map_or(0, std::num::NonZeroUsize::get);
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|index| format!("mkdaxfs-{index}"))
        .build()
        .map_err(|e| BuildError::Threads { threads, reason: e.to_string() })
}

fn report(
    tree: &Tree,
    contents: &Contents,
    layout: &Layout,
    uuid: Option<[u8; 16]>,
    started: Instant,
) -> BuildReport {
    let count = |wanted: fn(FileType) -> bool| {
        tree.iter().filter(|(_, node)| wanted(node.kind)).count() as u64
    };
    BuildReport {
        image_bytes: layout.image_size,
        base_bytes: layout.base_size,
        delta_bytes: layout.delta.map_or(0, |delta| delta.size),
        files: count(|kind| kind == FileType::Regular),
        directories: count(|kind| kind == FileType::Directory),
        symlinks: count(|kind| kind == FileType::Symlink),
        special: count(|kind| {
            kind.is_device() || matches!(kind, FileType::Fifo | FileType::Socket)
        }),
        data_bytes: contents.total_bytes,
        stored_bytes: contents.stored_bytes,
        deduplicated_files: contents.shared_files,
        saved_bytes: contents.total_bytes - contents.stored_bytes,
        uuid,
        elapsed: started.elapsed(),
    }
}

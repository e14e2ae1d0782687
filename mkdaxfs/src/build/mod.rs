//! The builder: from a source tree to an image, in steps that each own one file here.
//!
//! 1. [`scan`] lists the tree: names and attributes of everything, no contents ([`tree`]).
//! 2. [`contents`] finds out which files share their content, reading as little as it can.
//! 3. [`layout`] decides where everything lies. From here on the image's bytes are determined.
//! 4. [`write`] reads the contents and writes them, and the structures that [`encode`] makes, to
//!    their places, in parallel.
//! 5. [`output`] gives the finished file its name. (In memory, which has no name, the image's superblock
//!    is written last: [`target`].)
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
mod target;
mod tree;
mod write;

use crate::error::{BuildError, Result};
use crate::options::BuildOptions;
use crate::progress::Progress;
use crate::range::Range;
use crate::report::BuildReport;
use contents::Contents;
use daxfs_format::mode::FileType;
use layout::Layout;
use output::Output;
use std::path::Path;
use std::time::Instant;
use target::{Memory, Target};
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
    let build = Build::start(options, progress)?;
    let output = Output::create(output)?;
    let plan = build.plan(source, Some(&output))?;
    let uuid = build.write(&plan, Target::File(output.file()))?;
    output.publish()?;
    Ok(build.report(&plan, uuid))
}

/// Makes an image of the directory tree at `source` in a range of memory, from its first byte on.
///
/// Until it is whole, the range holds no image: what was there before is made invalid first, and the
/// superblock is written last.
///
/// # Errors
///
/// [`BuildError`]. The range is as it was if the tree cannot be listed or does not fit; after that
/// there is no image in it.
pub fn build_into(
    source: &Path,
    range: &Range,
    options: &BuildOptions,
    progress: &dyn Progress,
) -> Result<BuildReport> {
    let build = Build::start(options, progress)?;
    let plan = build.plan(source, None)?;
    if plan.layout.image_size > range.size() {
        return Err(BuildError::TooLarge { needed: plan.layout.image_size, limit: range.size() });
    }
    let memory = Memory::new(range);
    let result = build.write(&plan, Target::Memory(&memory));
    if result.is_err() {
        memory.invalidate()?;
    }
    Ok(build.report(&plan, result?))
}

/// A build that was started.
struct Build<'b> {
    started: Instant,
    workers: rayon::ThreadPool,
    options: &'b BuildOptions,
    progress: &'b dyn Progress,
}

/// What an image will be.
struct Plan {
    tree: Tree,
    contents: Contents,
    layout: Layout,
}

impl<'b> Build<'b> {
    fn start(options: &'b BuildOptions, progress: &'b dyn Progress) -> Result<Self> {
        let started = Instant::now();
        Ok(Self { started, workers: workers(options)?, options, progress })
    }

    /// Steps 1 to 3. `output` is a file that must not be inside of the source.
    fn plan(&self, source: &Path, output: Option<&Output>) -> Result<Plan> {
        let Self { workers, options, progress, .. } = self;
        let tree = workers.install(|| scan::scan(source, output, *progress))?;
        let contents = workers.install(|| contents::identify(&tree, *progress))?;
        let layout = Layout::new(&tree, &contents, options)?;
        Ok(Plan { tree, contents, layout })
    }

    /// Step 4. Returns a writable image's uuid.
    fn write(&self, plan: &Plan, target: Target<'_>) -> Result<Option<[u8; 16]>> {
        let Self { workers, options, progress, .. } = self;
        let Plan { tree, layout, .. } = plan;
        let written = workers.install(|| write::write(tree, layout, options, target, *progress))?;
        if progress.cancelled() {
            return Err(BuildError::Cancelled);
        }
        Ok(written.uuid)
    }

    fn report(&self, plan: &Plan, uuid: Option<[u8; 16]>) -> BuildReport {
        report(&plan.tree, &plan.contents, &plan.layout, uuid, self.started)
    }
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

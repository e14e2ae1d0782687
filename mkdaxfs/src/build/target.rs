//! What an image is written to: a file that nobody sees yet, or memory that others may look at.
//!
//! # Invariants
//!
//! Memory holds no image from [`Memory::invalidate`] until its superblock's first word is stored,
//! which is after everything that the superblock speaks of.

use super::layout::Layout;
use super::output::{OutputFile, Sender};
use crate::error::{BuildError, Result};
use crate::progress::Progress;
use crate::range::Range;
use daxfs::region::StoreOrder;
use daxfs::std_platform::MappedFile;
use daxfs::{Region, RegionOffset};
use daxfs_format::superblock;

/// Bytes that are cleared before anybody is asked whether to go on.
const CLEARED_AT_ONCE: u64 = 64 << 20;

/// What an image is written to.
#[derive(Clone, Copy)]
pub(super) enum Target<'t> {
    /// A file.
    File(OutputFile<'t>),
    /// Memory.
    Memory(&'t Memory<'t>),
}

impl<'t> Target<'t> {
    /// Makes all that will not be written zero.
    pub(super) fn clear(&self, layout: &Layout, progress: &dyn Progress) -> Result<()> {
        match self {
            Self::File(file) => file.set_len(layout.image_size),
            Self::Memory(memory) => memory.clear(layout, progress),
        }
    }

    /// The right to let the system copy, where it can.
    pub(super) fn sender(&self) -> Option<Sender<'t>> {
        match self {
            Self::File(file) => Some(file.sender()),
            Self::Memory(_) => None,
        }
    }

    /// Writes `bytes` at `offset`.
    pub(super) fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        match self {
            Self::File(file) => file.write_at(offset, bytes),
            Self::Memory(memory) => memory.write_at(offset, bytes),
        }
    }

    /// Writes the superblock, behind everything else.
    pub(super) fn write_superblock(&self, bytes: &[u8]) -> Result<()> {
        match self {
            Self::File(file) => file.write_at(0, bytes),
            Self::Memory(memory) => memory.write_superblock(bytes),
        }
    }

    /// Does something to the whole image in shared memory. What it writes lies within `parts`, of a
    /// start and a length each.
    pub(super) fn with_region<R>(
        &self,
        parts: [(u64, u64); 2],
        then: impl FnOnce(&Region<MappedFile>) -> R,
    ) -> Result<R> {
        match self {
            Self::File(file) => {
                for (offset, len) in parts {
                    file.reserve(offset, len)?;
                }
                Ok(then(&Region::new(file.map()?)))
            }
            Self::Memory(memory) => {
                let result = then(memory.range.region());
                memory.range.region().persist();
                Ok(result)
            }
        }
    }
}

/// Memory that an image is written to.
pub(super) struct Memory<'r> {
    range: &'r Range,
}

impl<'r> Memory<'r> {
    pub(super) const fn new(range: &'r Range) -> Self {
        Self { range }
    }

    /// From now on there is no image in it.
    pub(super) fn invalidate(&self) -> Result<()> {
        self.store_first_word(0)
    }

    fn clear(&self, layout: &Layout, progress: &dyn Progress) -> Result<()> {
        self.invalidate()?;
        if self.range.is_fresh() {
            return Ok(());
        }
        // What lies behind has no meaning, or gets one when it is written.
        let end = layout.delta.map_or(layout.image_size, |delta| delta.at.get());
        let mut at = 0;
        while at < end {
            if progress.cancelled() {
                return Err(BuildError::Cancelled);
            }
            let len = CLEARED_AT_ONCE.min(end - at);
            let region = self.range.region();
            region.zero(RegionOffset::new(at), len).map_err(|e| self.refused(e))?;
            at += len;
        }
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let at = RegionOffset::new(offset);
        self.range.region().copy_in(at, bytes).map_err(|e| self.refused(e))
    }

    fn write_superblock(&self, bytes: &[u8]) -> Result<()> {
        // The word holds magic and version.
        let Some((first, rest)) = bytes.split_first_chunk::<8>() else { return Ok(()) };
        self.write_at(size_of_val(first) as u64, rest)?;
        self.store_first_word(u64::from_le_bytes(*first))
    }

    /// Stores the word without which there is no image, with everything else before it.
    fn store_first_word(&self, word: u64) -> Result<()> {
        const { assert!(superblock::SIZE >= 8) };
        let region = self.range.region();
        region.persist();
        // Release: whoever finds the magic finds the image.
        region
            .store(RegionOffset::new(0), word, StoreOrder::Release)
            .map_err(|e| self.refused(e))?;
        region.persist();
        Ok(())
    }

    fn refused(&self, reason: daxfs::Error) -> BuildError {
        BuildError::io(
            "write the image",
            self.range.path(),
            std::io::Error::other(reason.to_string()),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BuildOptions, DeltaSize, Phase, build, build_into};
    use daxfs::std_platform::StdPlatform;
    use daxfs::{Delta, Geometry, validate};
    use std::fs;
    use std::sync::atomic::{AtomicBool, Ordering};

    const SIZE: u64 = 8 << 20;

    /// A tree with holes, small files and one of several windows.
    fn tree() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("dir")).unwrap();
        (0..50).for_each(|i| fs::write(folder.path().join(format!("dir/{i}")), [7; 500]).unwrap());
        let mut large = vec![9; 3 << 20];
        large[1 << 20..2 << 20].fill(0);
        fs::write(folder.path().join("large"), large).unwrap();
        folder
    }

    fn bytes(range: &Range, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        range.region().copy_out(RegionOffset::new(0), &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn memory_gets_the_same_image_as_a_file_whatever_was_there() {
        let tree = tree();
        let output = tree.path().with_extension("image");
        for writable in [None, Some(DeltaSize::FillTo(SIZE))] {
            let options =
                BuildOptions { writable, uuid: writable.map(|_| [3; 16]), ..Default::default() };
            let range = Range::private(SIZE, &vec![0xee; SIZE as usize]);
            build_into(tree.path(), &range, &options, &()).unwrap();
            build(tree.path(), &output, &options, &()).unwrap();
            let expected = fs::read(&output).unwrap();
            fs::remove_file(&output).unwrap();
            // Behind its structures, what is in a delta region has no meaning.
            let end = match Geometry::read(Range::private(SIZE, &expected).region()).unwrap().delta
            {
                Delta::Segmented(segments) => segments.area.start.get() as usize,
                Delta::None | Delta::Plain(_) => expected.len(),
            };
            assert!(bytes(&range, end) == expected[..end], "writable: {writable:?}");
            let mut problems = Vec::new();
            let checked =
                validate(&StdPlatform, range.region(), &mut |problem| problems.push(*problem));
            assert!(checked.is_ok() && problems.is_empty(), "{checked:?} {problems:?}");
        }
    }

    #[test]
    fn a_tree_that_does_not_fit_leaves_memory_as_it_was() {
        let tree = tree();
        let before = vec![0xee; 1 << 20];
        let range = Range::private(1 << 20, &before);
        let result = build_into(tree.path(), &range, &BuildOptions::default(), &());
        assert!(matches!(result, Err(BuildError::TooLarge { limit: 0x10_0000, .. })), "{result:?}");
        assert!(bytes(&range, before.len()) == before);
    }

    /// Asks to stop once writing has begun.
    #[derive(Default)]
    struct Stop(AtomicBool);

    impl Progress for Stop {
        fn begin(&self, phase: Phase, _: Option<u64>) {
            self.0.store(phase == Phase::Write, Ordering::Relaxed);
        }

        fn cancelled(&self) -> bool {
            self.0.load(Ordering::Relaxed)
        }
    }

    #[test]
    fn while_it_is_written_and_after_a_failure_memory_holds_no_image() {
        let tree = tree();
        let range = Range::private(SIZE, &[]);
        build_into(tree.path(), &range, &BuildOptions::default(), &()).unwrap();
        assert_ne!(bytes(&range, 8), [0; 8]);
        let result = build_into(tree.path(), &range, &BuildOptions::default(), &Stop::default());
        assert!(matches!(result, Err(BuildError::Cancelled)), "{result:?}");
        assert_eq!(bytes(&range, 8), [0; 8]);
    }
}

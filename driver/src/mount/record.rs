//! How a mount changes its branch: each change is an entry of the log, published and then done to the
//! index; and the log is replaced by a snapshot where that pays.

use super::state::{Company, Current};
use crate::error::{Error, Result};
use crate::index::Removed;
use crate::log::entry::{Entry, Operation};
use crate::log::writer::{Base, Reserve};
use crate::platform::Platform;
use crate::reclaim::Stamp;
use crate::replay::Source;
use crate::storage::TryVec;
use crate::superblock::Segments;
use crate::tree::Tree;
use crate::volume::Volume;
use daxfs_format::{Ino, BLOCK_SIZE};

impl Current {
    /// Checks `entry`, publishes it, and does what it says. `target` is a symbolic link's.
    pub(crate) fn record<P: Platform>(
        &mut self,
        volume: &Volume<P>,
        company: &mut Company,
        entry: &Entry<'_>,
        target: TryVec<u8>,
        reserve: Reserve,
    ) -> Result<()> {
        self.index.check(volume.view(), entry)?;
        self.record_checked(volume, company, entry, target, reserve)
    }

    /// As [`Self::record`], of an entry that [`Index::check`] would find right.
    pub(crate) fn record_checked<P: Platform>(
        &mut self,
        volume: &Volume<P>,
        company: &mut Company,
        entry: &Entry<'_>,
        target: TryVec<u8>,
        reserve: Reserve,
    ) -> Result<()> {
        let view = volume.view();
        self.index.prepare(view, entry)?;
        // A file without a name is nothing that anybody else knows. A new one has a name.
        let is_new =
            matches!(entry.operation, Operation::Create { .. } | Operation::Symlink { .. });
        if is_new || !self.index.is_orphan(entry.ino) {
            let writing = self.writing.as_mut().ok_or(Error::ReadOnly)?;
            let len = writing.log.encode(entry)?;
            self.publish(volume, company, (len, &target), reserve)?;
        }
        let writing = self.writing.as_mut().ok_or(Error::ReadOnly)?;
        let removed = if P::KEEPS_REMOVED { Removed::Kept } else { Removed::Forgotten };
        let applied = self.index.apply(view, Some(&mut writing.space), entry, target, removed);
        // The entry is published. An index that does not know it must not answer any more.
        self.torn = applied.is_err();
        match &entry.operation {
            Operation::Write { offset, len, .. } => {
                let end = offset.saturating_add(u64::from(*len)).div_ceil(BLOCK_SIZE);
                volume.platform.moved(entry.ino, offset / BLOCK_SIZE..end);
            }
            Operation::Hole { offset, len } => {
                let end = offset.saturating_add(*len) / BLOCK_SIZE;
                volume.platform.moved(entry.ino, offset / BLOCK_SIZE..end);
            }
            Operation::Truncate { .. } => volume.platform.moved(entry.ino, 0..u64::MAX),
            _ => {}
        }
        applied?;
        self.let_go_of_dropped(company);
        self.drain(volume, company)
    }

    /// Pages that the index does not refer to any more wait for being used again.
    fn let_go_of_dropped(&mut self, company: &mut Company) {
        let Some(writing) = &mut self.writing else { return };
        if writing.space.has_dropped() {
            let pages = writing.space.take_dropped();
            let stamp = self.stamp();
            company.reclaim.pages(&pages, stamp);
        }
    }

    /// Forgets a file without a name.
    pub(crate) fn forget<P: Platform>(
        &mut self,
        volume: &Volume<P>,
        company: &mut Company,
        ino: Ino,
    ) -> Result<()> {
        let space = self.writing.as_mut().map(|writing| &mut writing.space);
        if !self.index.forget(volume.view(), space, ino)? {
            return Ok(());
        }
        self.let_go_of_dropped(company);
        self.drain(volume, company)
    }

    /// Appends the entry that was encoded last, with its `target`, to the log, which is compacted first
    /// where that pays.
    fn publish<P: Platform>(
        &mut self,
        volume: &Volume<P>,
        company: &mut Company,
        (len, target): (u32, &[u8]),
        reserve: Reserve,
    ) -> Result<()> {
        let segments = volume.geometry.segments()?;
        let writing = self.writing.as_ref().ok_or(Error::ReadOnly)?;
        if writing.log.is_at_border(segments, len)
            && (self.compaction_pays(segments) || self.cleaning_pays(volume)?)
        {
            // Where there is no room for it the log just grows on.
            let _ = self.compact(volume, company);
        }
        match self.append(volume, target, reserve) {
            Err(Error::NoSpace) if self.source.segments.count() > 2 => {
                self.compact(volume, company)?;
                self.append(volume, target, reserve)
            }
            appended => appended,
        }
    }

    fn append<P: Platform>(
        &mut self,
        volume: &Volume<P>,
        target: &[u8],
        reserve: Reserve,
    ) -> Result<()> {
        if !self.writing.as_ref().is_some_and(|writing| writing.log.is_started()) {
            self.start_log(volume, reserve)?;
        }
        let writing = self.writing.as_mut().ok_or(Error::ReadOnly)?;
        let segments = volume.geometry.segments()?;
        let chain = &mut self.source.segments;
        writing.log.append(&volume.region, segments, target, reserve, chain)
    }

    /// Whether the log is much longer than a snapshot of what it says would be.
    fn compaction_pays(&self, segments: &Segments) -> bool {
        let snapshot = self.index.snapshot_size().div_ceil(segments.size());
        self.source.segments.count() > 2 * snapshot + 4
    }

    /// Replaces the log, and all it goes on from, by a snapshot.
    #[inline(never)]
    pub(crate) fn compact<P: Platform>(
        &mut self,
        volume: &Volume<P>,
        company: &mut Company,
    ) -> Result<()> {
        let (region, geometry) = (&volume.region, &volume.geometry);
        let segments = geometry.segments()?;
        let branch = self.branch.ok_or(Error::ReadOnly)?;
        let cleaned = self.clean(volume)?;
        let (index, writing) = (&self.index, self.writing.as_mut().ok_or(Error::ReadOnly)?);
        let rewritten = writing.log.rewrite(region, geometry, |log, chain| {
            let mut entries = 0;
            index.save(volume.view(), &mut |entry, target| {
                entries += 1;
                volume.show_life(entries)?;
                log.encode(entry)?;
                log.append(region, segments, target, Reserve::Use, chain)
            })
        });
        let chain = match rewritten {
            Ok(chain) => chain,
            Err(error) => {
                self.undo(volume, cleaned)?;
                self.let_go_of_dropped(company);
                return Err(error);
            }
        };
        cleaned.tell(&volume.platform);
        let writing = self.writing.as_mut().ok_or(Error::ReadOnly)?;
        self.source = Source { chain: writing.log.chain(segments)?, segments: chain };
        writing.rewritten = true;
        if let Some(branch) = &mut self.branch {
            branch.log = writing.log.word();
        }
        // Followers have to read the new log before the old one's segments are used again. Who has
        // followed the tree to this sequence has.
        let tree = Tree::new(region, geometry)?;
        let sequence = match tree.bump().and_then(|()| tree.settle()) {
            Ok(idle) => idle.sequence,
            // The next owner of the branch finds the old log's segments.
            Err(_) => return Ok(()),
        };
        let mut garbage = writing.space.garbage(region, &[branch.id], &self.source.segments)?;
        let spare = writing.log.spare();
        garbage.retain(|segment| {
            let index = u64::from(segment.index.get());
            Some(segment.index) != spare && !writing.space.holds(index)
        });
        company.reclaim.segments(&garbage, Stamp { sequence, ..self.stamp() });
        self.drain(volume, company)
    }

    /// Makes sure that the branch has a log of its own.
    #[inline(never)]
    fn start_log<P: Platform>(&mut self, volume: &Volume<P>, reserve: Reserve) -> Result<()> {
        let writing = self.writing.as_mut().ok_or(Error::ReadOnly)?;
        let base = Base { chain: self.source.chain.as_ref(), next_ino: self.index.next_ino() };
        let (region, geometry) = (&volume.region, &volume.geometry);
        let segments = &mut self.source.segments;
        if writing.log.start(region, geometry, base, reserve, segments)? {
            self.source.chain = writing.log.chain(geometry.segments()?)?;
            if let Some(branch) = &mut self.branch {
                branch.log = writing.log.word();
            }
            // Followers look at the tree word, and at the log they know: they have to learn of this
            // one. Should that fail they learn of it later.
            let _ = Tree::new(region, geometry)?.bump();
        }
        Ok(())
    }
}

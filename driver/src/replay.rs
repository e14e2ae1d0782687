//! Replay: building the index from the logs of a branch and its ancestors, and keeping it up with
//! what is published later.

use crate::base::Base;
use crate::branch::{Branch, Table};
use crate::error::{Error, Result};
use crate::index::{Index, Removed, View};
use crate::log::decode::{Decoded, Window};
use crate::log::entry::{self, Entry, Operation, WriteSource};
use crate::log::reader::{ChainLog, PlainLog};
use crate::member::{Heartbeat, STEPS_PER_BEAT};
use crate::region::{Backing, Region};
use crate::space::Space;
use crate::storage::{Bitmap, TryVec};
use crate::superblock::{Delta, Geometry, Segments};
use daxfs_format::{Ino, RegionOffset, SegmentIndex, BLOCK_SIZE};

/// What replay reads, and what it has read.
pub struct Replay<'r, B: Backing> {
    region: &'r Region<B>,
    geometry: &'r Geometry,
    base: &'r Base,
    heartbeat: Option<Heartbeat>,
    entries: u64,
    untidy: Option<Error>,
}

/// What the index was built from.
pub struct Source {
    /// The chain that was read last; `None` where there is none.
    pub chain: Option<ChainLog>,
    /// Segments of that chain and of all it links to.
    pub segments: Bitmap,
}

impl Source {
    /// Nothing read yet.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`].
    pub fn new(geometry: &Geometry) -> Result<Self> {
        let count = match &geometry.delta {
            Delta::Segmented(segments) => segments.count,
            Delta::None | Delta::Plain(_) => 0,
        };
        Ok(Self { chain: None, segments: Bitmap::new(count.into())? })
    }
}

impl<'r, B: Backing> Replay<'r, B> {
    /// A replay over `region`. `heartbeat` is shown now and then.
    #[must_use]
    pub const fn new(
        region: &'r Region<B>,
        geometry: &'r Geometry,
        base: &'r Base,
        heartbeat: Option<Heartbeat>,
    ) -> Self {
        Self { region, geometry, base, heartbeat, entries: 0, untidy: None }
    }

    /// Entries replayed so far.
    #[must_use]
    pub const fn entries(&self) -> u64 {
        self.entries
    }

    /// The first rule found broken that replay does not rely on.
    #[must_use]
    pub const fn untidy(&self) -> Option<Error> {
        self.untidy
    }

    /// Replays all that `branch` says into an empty index.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] naming the entry that makes no sense, [`Error::NoMemory`].
    pub fn branch(
        &mut self,
        index: &mut Index,
        space: Option<&mut Space>,
        table: &Table,
        branch: &Branch,
    ) -> Result<Source> {
        let mut source = Source::new(self.geometry)?;
        match &self.geometry.delta {
            Delta::None => {}
            Delta::Plain(_) => {
                for ancestor in lineage(table, branch)?.iter().rev() {
                    self.plain_log(index, ancestor)?;
                }
            }
            Delta::Segmented(segments) => {
                // A chain starts with a link to what was said before it, so the nearest one that
                // there is says everything.
                let head = lineage(table, branch)?.iter().find_map(|branch| branch.log.head);
                if let Some(head) = head {
                    let (region, visited) = (self.region, &mut source.segments);
                    let log = ChainLog::open(region, segments, head, visited)?;
                    source.chain = Some(self.chain(index, space, segments, log, visited)?);
                }
            }
        }
        Ok(source)
    }

    /// Replays what has been published behind what `source` has read.
    ///
    /// # Errors
    ///
    /// As [`Self::branch`].
    pub fn catch_up(
        &mut self,
        index: &mut Index,
        mut space: Option<&mut Space>,
        source: &mut Source,
    ) -> Result<()> {
        let segments = self.geometry.segments()?;
        let Some(log) = &mut source.chain else { return Ok(()) };
        log.catch_up(self.region)?;
        let (visited, mut window) = (&mut source.segments, Window::default());
        while let Some((at, found)) = log.next(self.region, segments, visited, &mut window)? {
            self.entry(index, space.as_deref_mut(), at, &found.entry)?;
        }
        Ok(())
    }

    /// If the chain at `head` goes on exactly where `source` has read to, replays it; says whether
    /// it does. That is what a commit leaves behind.
    ///
    /// # Errors
    ///
    /// As [`Self::branch`].
    pub fn go_on(
        &mut self,
        index: &mut Index,
        mut space: Option<&mut Space>,
        source: &mut Source,
        head: SegmentIndex,
    ) -> Result<bool> {
        let segments = self.geometry.segments()?;
        let (region, visited) = (self.region, &mut source.segments);
        if visited.get(u64::from(head.get())) {
            return Ok(false);
        }
        let mut log = ChainLog::open(region, segments, head, visited)?;
        let mut window = Window::default();
        match (log.next(region, segments, visited, &mut window)?, &source.chain) {
            (Some((at, found)), chain) => match (&found.entry.operation, chain) {
                (&Operation::Link { branch, head, published, .. }, Some(old))
                    if (branch, head, published) == (old.writer(), old.head(), old.position()) => {}
                (operation, None) if operation.is_change() => {
                    self.entry(index, space.as_deref_mut(), at, &found.entry)?;
                }
                _ => return Ok(false),
            },
            (None, None) => {}
            (None, Some(_)) => return Ok(false),
        }
        while let Some((at, found)) = log.next(region, segments, visited, &mut window)? {
            self.entry(index, space.as_deref_mut(), at, &found.entry)?;
        }
        source.chain = Some(log);
        Ok(true)
    }

    fn plain_log(&mut self, index: &mut Index, branch: &Branch) -> Result<()> {
        let Some(span) = branch.plain_log else { return Ok(()) };
        let mut log = PlainLog::new(span);
        let mut window = Window::default();
        while let Some((at, found)) = log.next(self.region, &mut window)? {
            self.entry(index, None, at, &found.entry)?;
        }
        Ok(())
    }

    /// Replays a chain and, before it, the chains its first entry leads to. No segment is entered
    /// twice, so this ends.
    fn chain(
        &mut self,
        index: &mut Index,
        mut space: Option<&mut Space>,
        segments: &Segments,
        last: ChainLog,
        visited: &mut Bitmap,
    ) -> Result<ChainLog> {
        // Chains that start with a link to the one above them on the stack.
        let mut waiting: TryVec<(ChainLog, RegionOffset, Ino)> = TryVec::new();
        let (mut log, mut window) = (last, Window::default());
        while let Some((at, found)) = log.next(self.region, segments, visited, &mut window)? {
            self.look_at(at, &found);
            let Operation::Link { branch, head, published, next_ino } = found.entry.operation
            else {
                if found.entry.operation.is_snapshot() {
                    index.start_snapshot()?;
                }
                self.entry(index, space.as_deref_mut(), at, &found.entry)?;
                break;
            };
            self.entries += 1;
            waiting.push((log, at, next_ino))?;
            log = ChainLog::part(self.region, segments, (head, branch), published, visited)?;
            if log.has_more(self.region)? {
                self.note("log that was appended to after another went on from it", at);
            }
        }
        loop {
            while let Some((at, found)) = log.next(self.region, segments, visited, &mut window)? {
                self.look_at(at, &found);
                self.entry(index, space.as_deref_mut(), at, &found.entry)?;
            }
            if index.is_loading() {
                let at = u64::from(log.head().get());
                return Err(Error::Corrupt { what: "snapshot that is not complete", at });
            }
            let Some((next, at, next_ino)) = waiting.pop() else { return Ok(log) };
            if next_ino < index.next_ino() {
                self.note("next inode number in a link entry", at);
            }
            index.raise_next_ino(next_ino);
            log = next;
        }
    }

    fn look_at(&mut self, at: RegionOffset, found: &Decoded<'_>) {
        if !found.tidy {
            self.note("stray bytes in a log entry", at);
        }
    }

    fn note(&mut self, what: &'static str, at: RegionOffset) {
        self.untidy = self.untidy.or(Some(Error::Corrupt { what, at: at.get() }));
    }

    fn entry(
        &mut self,
        index: &mut Index,
        space: Option<&mut Space>,
        at: RegionOffset,
        entry: &Entry<'_>,
    ) -> Result<()> {
        let view = View { region: self.region, base: self.base };
        self.entries += 1;
        if let (Some(heartbeat), 0) = (&self.heartbeat, self.entries % STEPS_PER_BEAT) {
            heartbeat.beat(self.region)?;
        }
        if matches!(entry.operation, Operation::Link { .. }) {
            return Err(Error::Corrupt { what: "link entry inside a log", at: at.get() });
        }
        let corrupt = |what| Error::Corrupt { what, at: at.get() };
        let locate = |error| match error {
            Error::NoMemory => error,
            Error::Corrupt { what, .. } => corrupt(what),
            _ => corrupt("log entry that makes no sense here"),
        };
        let loads = index.is_loading();
        if !loads {
            if entry.operation.is_snapshot() {
                return Err(corrupt("snapshot inside a log"));
            }
            index.check(view, entry).map_err(locate)?;
        }
        let mut target = TryVec::new();
        match &entry.operation {
            Operation::Symlink { target: from, target_len, .. }
            | Operation::Inode(entry::Inode { target: from, target_len, .. }) => {
                target.resize(usize::from(*target_len), 0)?;
                self.region.copy_out(*from, &mut target)?;
                if target.contains(&0) {
                    return Err(corrupt("NUL in a symbolic link"));
                }
            }
            Operation::Write { offset, len, source: WriteSource::Pages(pages) } => {
                self.check_write(*pages, offset % BLOCK_SIZE + u64::from(*len))?;
            }
            Operation::Extent { pages, at, .. } => {
                self.check_reference(*at, pages.saturating_mul(BLOCK_SIZE))?;
            }
            _ => {}
        }
        if let Operation::SnapshotEnd { next_ino, .. } = entry.operation {
            if next_ino < index.next_ino() {
                self.note("next inode number in a snapshot", at);
            }
        }
        if loads {
            index.load(view, space, entry, target).map_err(locate)
        } else {
            index.apply(view, space, entry, target, Removed::Forgotten)
        }
    }

    /// The pages of a write lie in one segment. So replaying an entry costs no more than its segment
    /// has pages, whatever it claims.
    fn check_write(&self, at: RegionOffset, bytes: u64) -> Result<()> {
        self.check_reference(at, bytes)?;
        let segments = self.geometry.segments()?;
        let last = at.checked_add(bytes.saturating_sub(1)).and_then(|at| segments.index_of(at));
        if segments.index_of(at) == last {
            Ok(())
        } else {
            Err(Error::Corrupt { what: "write that crosses segments", at: at.get() })
        }
    }

    /// Data pages lie in segments: a reference to anything else would let a log make a file of the
    /// branch table.
    fn check_reference(&self, at: RegionOffset, bytes: u64) -> Result<()> {
        let inside = self.geometry.segments().is_ok_and(|segments| {
            let area = &segments.area;
            let end = at.checked_add(bytes.div_ceil(BLOCK_SIZE).saturating_mul(BLOCK_SIZE));
            at >= area.start && end.is_some_and(|end| end.get() <= area.end())
        });
        if inside {
            Ok(())
        } else {
            Err(Error::Corrupt { what: "reference outside of the segments", at: at.get() })
        }
    }
}

/// `branch` and its ancestors, the root last.
///
/// # Errors
///
/// [`Error::Corrupt`] if there is no way to the root, [`Error::NoMemory`].
pub fn lineage(table: &Table, branch: &Branch) -> Result<TryVec<Branch>> {
    let mut lineage = TryVec::new();
    lineage.push(*branch)?;
    let mut parent = branch.parent;
    while !parent.is_none() {
        let corrupt = |what| Error::Corrupt { what, at: parent.get() };
        if lineage.len() > table.iter().count() {
            return Err(corrupt("branches form a circle"));
        }
        let ancestor = table.by_id(parent).filter(|branch| branch.is_live());
        let ancestor = *ancestor.ok_or(corrupt("parent of a live branch"))?;
        parent = ancestor.parent;
        lineage.push(ancestor)?;
    }
    Ok(lineage)
}

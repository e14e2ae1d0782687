//! A mounted branch: the operations every front end translates its own into.
//!
//! # Locking
//!
//! One reader-writer lock per mount guards the private index; nothing in the range is ever locked.
//! Operations that only look share the lock.
//!
//! # Module structure
//!
//! | module | what it does |
//! |---|---|
//! | [`state`] | the branch a mount is on |
//! | [`attributes`] | stat, setattr, statfs |
//! | [`namespace`] | lookup, readdir, create, unlink, rename |
//! | [`file`] | read, write, truncate, extents |
//! | [`path`] | resolution of paths |
//! | [`branches`] | create, switch, commit, abort |

mod attributes;
mod branches;
mod file;
mod namespace;
mod path;
pub(crate) mod state;

pub use attributes::StatFs;
pub use namespace::RenameMode;
pub use path::LastLink;

use crate::branch::{self, Branch};
use crate::commit;
use crate::error::{Error, Result};
use crate::options::{Access, MountOptions};
use crate::platform::{Lock, Platform};
use crate::region::Region;
use crate::storage::TryVec;
use crate::superblock::{Delta, Geometry};
use crate::upgrade;
use crate::volume::Volume;
use daxfs_format::branch::BranchName;
use daxfs_format::BranchId;
use state::Current;

/// A mounted image.
pub struct Mount<P: Platform> {
    volume: Volume<P>,
    access: Access,
    keep: bool,
    state: P::Lock<State>,
}

/// What the lock guards.
struct State {
    current: Current,
    /// Ancestors of the current branch that this mount could write to before it moved on to a
    /// child: it gets the right back when it returns.
    held: TryVec<BranchId>,
}

/// What a mount is.
#[derive(Clone, Copy, Debug)]
pub struct Info {
    /// Where everything in the range lies.
    pub geometry: Geometry,
    /// The branch's name; `None` for the base alone.
    pub branch: Option<BranchName>,
    /// The branch's id.
    pub branch_id: Option<BranchId>,
    /// Its parent's id.
    pub parent_id: Option<BranchId>,
    /// Whether this mount may write to the branch.
    pub access: Access,
    /// Whether the branch outlives the mount.
    pub keep: bool,
    /// Private memory the index and the space bookkeeping hold, in bytes.
    pub memory: usize,
    /// Changed inodes in the index.
    pub changed_inodes: usize,
    /// Changed names in the index.
    pub changed_names: usize,
}

impl<P: Platform> Mount<P> {
    /// Mounts the image in `region`.
    ///
    /// Read-only, a mount shows a branch (`main` unless told otherwise), or the base alone where
    /// there is none. To write, it takes the branch the options name, and makes it from `parent` if
    /// it does not exist; without a name it takes `main`. A plain v3 writable image is made a
    /// segmented one first.
    ///
    /// # Errors
    ///
    /// [`Error::NotDaxfs`], [`Error::Unsupported`], [`Error::Corrupt`] (also what `validate` finds),
    /// [`Error::ReadOnly`] for writing to a static image, [`Error::NoSuchBranch`], and the errors of
    /// making a branch.
    pub fn new(platform: P, region: Region<P::Backing>, options: &MountOptions) -> Result<Self> {
        if options.validate {
            let mut first = None;
            crate::validate::validate(&platform, &region, &mut |problem| {
                first = first.or(Some(problem.error));
            })?;
            if let Some(problem) = first {
                return Err(problem);
            }
        }
        let mut volume = Volume::open(platform, region)?;
        if options.access == Access::ReadWrite {
            if let Delta::Plain(_) = volume.geometry.delta {
                let mut uuid = [0; 16];
                let (high, low) = (volume.platform.random(), volume.platform.random());
                for (byte, random) in
                    uuid.iter_mut().zip(high.to_le_bytes().into_iter().chain(low.to_le_bytes()))
                {
                    *byte = random;
                }
                upgrade::make_segmented(&volume.region, uuid)?;
                volume.geometry = Geometry::read(&volume.region)?;
            }
            volume.writable()?;
            commit::recover(&volume.region, &volume.geometry)?;
        }
        let branch = choose_branch(&volume, options)?;
        let current = volume.load(branch, options.access)?;
        Ok(Self {
            volume,
            access: options.access,
            keep: options.keep,
            state: Lock::new(State { current, held: TryVec::new() })?,
        })
    }

    /// Ends the mount. An uncommitted branch without live children is discarded, unless the mount
    /// keeps it; `main` stays in any case.
    ///
    /// # Errors
    ///
    /// What writing the last changes, or discarding, says; the mount is over all the same.
    pub fn unmount(self) -> Result<()> {
        let mut state = self.state.write();
        let state = &mut *state;
        let current = &mut state.current;
        let Some(branch) = current.branch else { return Ok(()) };
        current.refresh(&self.volume)?;
        if current.writing.is_none() || current.check_readable().is_err() {
            return Ok(());
        }
        let flushed = self.flush(current);
        if let Some(writing) = &mut current.writing {
            writing.log.close(&self.volume.region, self.volume.geometry.segments()?)?;
        }
        let geometry = &self.volume.geometry;
        let has_children = branch::live_child(&self.volume.region, geometry, branch.id)?.is_some();
        if !self.keep && !branch.parent.is_none() && !has_children {
            return commit::abort(&self.volume.region, geometry, &branch);
        }
        flushed
    }

    /// What this mount is.
    pub fn info(&self) -> Info {
        let state = self.state.read();
        let current = &state.current;
        let (changed_inodes, changed_names) = current.index.counts();
        Info {
            geometry: self.volume.geometry,
            branch: current.branch.map(|b| b.name),
            branch_id: current.branch.map(|b| b.id),
            parent_id: current.branch.map(|b| b.parent).filter(|p| !p.is_none()),
            access: if current.writing.is_some() { Access::ReadWrite } else { Access::ReadOnly },
            keep: self.keep,
            memory: current.index.memory()
                + current.writing.as_ref().map_or(0, |w| w.space.memory()),
            changed_inodes,
            changed_names,
        }
    }

    /// The image that is mounted.
    pub const fn volume(&self) -> &Volume<P> {
        &self.volume
    }

    /// Runs `look` on a state that is up to date.
    fn reading<R>(&self, look: impl FnOnce(&Current) -> Result<R>) -> Result<R> {
        {
            let state = self.state.read();
            if state.current.is_fresh(&self.volume)? {
                state.current.check_readable()?;
                return look(&state.current);
            }
        }
        let mut state = self.state.write();
        state.current.refresh(&self.volume)?;
        state.current.check_readable()?;
        look(&state.current)
    }

    /// Runs `change` on a state that is up to date and may be written to.
    fn writing<R>(&self, change: impl FnOnce(&mut Current) -> Result<R>) -> Result<R> {
        let mut state = self.state.write();
        if !state.current.is_fresh(&self.volume)? {
            state.current.refresh(&self.volume)?;
        }
        state.current.check_writable()?;
        change(&mut state.current)
    }
}

/// The branch the options ask for, made if they ask for that.
fn choose_branch<P: Platform>(
    volume: &Volume<P>,
    options: &MountOptions,
) -> Result<Option<Branch>> {
    let (region, geometry) = (&volume.region, &volume.geometry);
    let name = options.branch.unwrap_or(BranchName::main());
    match branch::named(region, geometry, &name) {
        Ok(branch) => Ok(Some(branch)),
        Err(Error::NoSuchBranch { .. }) => match options.access {
            Access::ReadOnly if options.branch.is_none() => Ok(None),
            Access::ReadWrite if options.branch.is_some() => {
                let parent = options.parent.unwrap_or(BranchName::main());
                volume.create_branch(&name, &parent)?;
                branch::named(region, geometry, &name).map(Some)
            }
            _ => Err(Error::NoSuchBranch { branch: name }),
        },
        Err(error) => Err(error),
    }
}

//! The branches of a mounted image, through its mount: what the kernel's ioctls are to a program.
//!
//! # Invariants
//!
//! The descriptor of a [`MountControl`] is of a file of a DAXFS mount, so that these numbers are
//! understood as the format crate defines them.

use daxfs::BranchName;
use daxfs_format::branch::{MAX_BRANCHES, NAME_SIZE};
use daxfs_format::ioctl::{self, BranchStatus, CURRENT, CreateBranch, ListBranches, SwitchBranch};
use daxfs_format::superblock;
use rustix::fd::OwnedFd;
use rustix::fs::{CWD, Mode, OFlags, fstatfs, openat};
use rustix::io::Errno;
use rustix::ioctl::{NoArg, Setter, Updater};
use std::path::{Path, PathBuf};
use zerocopy::FromZeros;

/// Why a mount did not do what it was asked. The message is one line, and says what to do.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The path cannot be opened.
    #[error("{path:?}: cannot open it: {reason}")]
    Open {
        /// Which.
        path: PathBuf,
        /// What the system said.
        reason: Errno,
    },
    /// The path is on another file system.
    #[error("{path:?}: is not on a DAXFS mount; give the mount's directory")]
    NotDaxfs {
        /// Which.
        path: PathBuf,
    },
    /// The kernel refused.
    #[error("{path:?}: cannot {action}: {}", explain(*.reason))]
    Refused {
        /// The mount.
        path: PathBuf,
        /// What was asked.
        action: String,
        /// What the kernel said.
        reason: Errno,
    },
}

/// What the kernel's answer means where branches are concerned. Its log names the branch in the way.
fn explain(reason: Errno) -> String {
    let meaning = match reason {
        Errno::PERM => "only an administrator may",
        Errno::EXIST => "a live branch has this name already",
        Errno::NOENT => "there is no live branch of this name",
        Errno::BUSY => {
            "a branch in the way is written to by another mount or has children: unmount, commit or \
             abort those first (the kernel's log names one)"
        }
        Errno::ROFS => {
            "the mount looks only, or its branch has live children; mount it with rw, or end the \
             children first"
        }
        Errno::STALE => "another branch was committed instead of this one; unmount and mount again",
        Errno::NOSPC => "the branch table or the delta region is full; commit or abort branches",
        Errno::INVAL => "the main branch neither ends nor has another place to go",
        Errno::NOTTY => "this kernel's module does not know the operation; load a newer one",
        reason => return reason.to_string(),
    };
    format!("{meaning} ({})", std::io::Error::from(reason))
}

/// A live branch, as its mount tells of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MountedBranch {
    /// Its identity.
    pub id: u64,
    /// Its parent's; `None` for the root branch.
    pub parent: Option<u64>,
    /// Its name.
    pub name: BranchName,
    /// The member that writes to it.
    pub owner: Option<u8>,
    /// Segments it has.
    pub segments: u64,
    /// Whether the mount is on it.
    pub is_current: bool,
}

/// A mount of an image in this kernel.
#[derive(Debug)]
pub struct MountControl {
    path: PathBuf,
    file: OwnedFd,
}

impl MountControl {
    /// The mount that `path`, a directory or file, is on.
    ///
    /// # Errors
    ///
    /// [`ControlError::Open`], [`ControlError::NotDaxfs`].
    pub fn open(path: &Path) -> Result<Self, ControlError> {
        let error = |reason| ControlError::Open { path: path.to_path_buf(), reason };
        // Nonblocking: a fifo would wait for its writer.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = openat(CWD, path, flags, Mode::empty()).map_err(error)?;
        // A 32-bit machine's word may be a signed one; the number is of 32 bits.
        if fstatfs(&file).map_err(error)?.f_type as u32 != superblock::MAGIC {
            return Err(ControlError::NotDaxfs { path: path.to_path_buf() });
        }
        Ok(Self { path: path.to_path_buf(), file })
    }

    /// What the caller called it.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The live branches of the image, in the order of its table.
    ///
    /// # Errors
    ///
    /// [`ControlError::Refused`].
    pub fn branches(&self) -> Result<Vec<MountedBranch>, ControlError> {
        let mut entries = vec![BranchStatus::new_zeroed(); MAX_BRANCHES as usize];
        let count = list(&self.file, &mut entries)
            .map_err(|reason| self.refused("list the branches", reason))?;
        Ok(entries.iter().take(count).filter_map(told).collect())
    }

    /// Makes branch `name` from `parent` (`None`: from the branch the mount is on), and moves the
    /// mount to it.
    ///
    /// # Errors
    ///
    /// [`ControlError::Refused`].
    pub fn create(
        &self,
        name: &BranchName,
        parent: Option<&BranchName>,
    ) -> Result<(), ControlError> {
        let request = CreateBranch {
            name: field(name),
            parent: parent.map_or([0; NAME_SIZE], field),
            flags: 0.into(),
            reserved: [0; 60],
        };
        // SAFETY: the number is CREATE's, whose argument this is.
        let request = unsafe { Setter::<{ ioctl::CREATE }, _>::new(request) };
        // SAFETY: a file of a DAXFS mount, which reads the structure and keeps no address.
        unsafe { rustix::ioctl::ioctl(&self.file, request) }
            .map_err(|reason| self.refused(format!("make branch '{name}'"), reason))
    }

    /// Moves the mount to branch `name`.
    ///
    /// # Errors
    ///
    /// [`ControlError::Refused`].
    pub fn switch(&self, name: &BranchName) -> Result<(), ControlError> {
        let request = SwitchBranch { name: field(name), flags: 0.into(), reserved: [0; 28] };
        // SAFETY: the number is SWITCH's, whose argument this is.
        let request = unsafe { Setter::<{ ioctl::SWITCH }, _>::new(request) };
        // SAFETY: a file of a DAXFS mount, which reads the structure and keeps no address.
        unsafe { rustix::ioctl::ioctl(&self.file, request) }
            .map_err(|reason| self.refused(format!("switch to branch '{name}'"), reason))
    }

    /// Commits the branch the mount is on; its siblings are discarded, and the mount is on its
    /// parent then.
    ///
    /// # Errors
    ///
    /// [`ControlError::Refused`].
    pub fn commit(&self) -> Result<(), ControlError> {
        // SAFETY: the number is COMMIT's, which has no argument.
        let request = unsafe { NoArg::<{ ioctl::COMMIT }>::new() };
        // SAFETY: a file of a DAXFS mount.
        unsafe { rustix::ioctl::ioctl(&self.file, request) }
            .map_err(|reason| self.refused("commit the branch", reason))
    }

    /// Discards the branch the mount is on; the mount is on its parent then.
    ///
    /// # Errors
    ///
    /// [`ControlError::Refused`].
    pub fn abort(&self) -> Result<(), ControlError> {
        // SAFETY: the number is ABORT's, which has no argument.
        let request = unsafe { NoArg::<{ ioctl::ABORT }>::new() };
        // SAFETY: a file of a DAXFS mount.
        unsafe { rustix::ioctl::ioctl(&self.file, request) }
            .map_err(|reason| self.refused("abort the branch", reason))
    }

    fn refused(&self, action: impl Into<String>, reason: Errno) -> ControlError {
        ControlError::Refused { path: self.path.clone(), action: action.into(), reason }
    }
}

/// Fills `entries` as far as there are branches; returns how many there are.
fn list(file: &OwnedFd, entries: &mut [BranchStatus]) -> rustix::io::Result<usize> {
    let mut request = ListBranches {
        entries: (entries.as_mut_ptr().expose_provenance() as u64).into(),
        capacity: u32::try_from(entries.len()).unwrap_or(u32::MAX).into(),
        count: 0.into(),
        reserved: [0; 16],
    };
    // SAFETY: the number is LIST's, whose argument this is, for reading and writing.
    let update = unsafe { Updater::<{ ioctl::LIST }, _>::new(&mut request) };
    // SAFETY: a file of a DAXFS mount, which writes at most `capacity` of any bytes to `entries`,
    // lent to us for writing, and keeps no address.
    unsafe { rustix::ioctl::ioctl(file, update) }?;
    Ok(request.count.get() as usize)
}

fn field(name: &BranchName) -> [u8; NAME_SIZE] {
    let mut field = [0; NAME_SIZE];
    for (to, from) in field.iter_mut().zip(name.as_bytes()) {
        *to = *from;
    }
    field
}

/// `None` for a name that no branch can have: the kernel never tells of one.
fn told(status: &BranchStatus) -> Option<MountedBranch> {
    let parent = status.parent.get();
    Some(MountedBranch {
        id: status.id.get(),
        parent: (parent != 0).then_some(parent),
        name: BranchName::from_field(&status.name)?,
        owner: status.owner.get().checked_sub(1).and_then(|owner| u8::try_from(owner).ok()),
        segments: status.segments.get(),
        is_current: status.flags.get() & CURRENT != 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_mount_is_refused_before_it_is_asked_anything() {
        let folder = tempfile::tempdir().unwrap();
        let error = MountControl::open(folder.path()).unwrap_err();
        assert!(matches!(error, ControlError::NotDaxfs { .. }), "{error}");
        let error = MountControl::open(&folder.path().join("nowhere")).unwrap_err();
        assert!(matches!(error, ControlError::Open { reason: Errno::NOENT, .. }), "{error}");
    }

    #[test]
    fn a_status_is_told_as_the_kernel_wrote_it() {
        let mut name = [0; NAME_SIZE];
        name[..2].copy_from_slice(b"b1");
        let status = BranchStatus {
            id: 7.into(),
            parent: 1.into(),
            owner: 4.into(),
            flags: CURRENT.into(),
            segments: 2.into(),
            name,
            ..BranchStatus::new_zeroed()
        };
        let branch = told(&status).unwrap();
        assert_eq!((branch.id, branch.parent, branch.owner), (7, Some(1), Some(3)));
        assert_eq!((branch.name.as_bytes(), branch.is_current), (&b"b1"[..], true));
        let root = BranchStatus { parent: 0.into(), owner: 0.into(), flags: 0.into(), ..status };
        let root = told(&root).unwrap();
        assert_eq!((root.parent, root.owner, root.is_current), (None, None, false));
    }
}

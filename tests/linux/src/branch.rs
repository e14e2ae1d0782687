//! The ioctls of a mount.

use daxfs_format::branch::NAME_SIZE;
use daxfs_format::ioctl::{
    ABORT, BranchStatus, COMMIT, CREATE, CURRENT, CreateBranch, LIST, ListBranches, SWITCH,
    SwitchBranch,
};
use rustix::io::Errno;
use rustix::ioctl::{NoArg, Opcode, Setter, Updater, ioctl};
use std::fs::File;
use zerocopy::FromZeros;

/// A branch, as it is listed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Branch {
    /// Its name.
    pub name: String,
    /// Its identity.
    pub id: u64,
    /// Its parent's; 0 for the root.
    pub parent: u64,
    /// Whether a mount writes to it.
    pub is_owned: bool,
    /// Whether it is the one that the mount is on.
    pub is_current: bool,
}

fn field(name: &str) -> [u8; NAME_SIZE] {
    let mut field = [0; NAME_SIZE];
    field[..name.len()].copy_from_slice(name.as_bytes());
    field
}

/// Makes a branch, and has the mount move there.
///
/// # Errors
///
/// What the file system refuses.
pub fn create(mount: &File, name: &str, parent: Option<&str>) -> Result<(), Errno> {
    let mut wanted = CreateBranch::new_zeroed();
    wanted.name = field(name);
    wanted.parent = parent.map_or([0; NAME_SIZE], field);
    create_raw(mount, wanted)
}

/// The same, with whatever is in the structure.
///
/// # Errors
///
/// What the file system refuses.
pub fn create_raw(mount: &File, wanted: CreateBranch) -> Result<(), Errno> {
    // SAFETY: the ioctl reads this structure.
    let wanted = unsafe { Setter::<{ CREATE as Opcode }, CreateBranch>::new(wanted) };
    // SAFETY: as above; nothing else changes in this process.
    unsafe { ioctl(mount, wanted) }
}

/// Has the mount move to another branch.
///
/// # Errors
///
/// What the file system refuses.
pub fn switch(mount: &File, name: &str) -> Result<(), Errno> {
    let mut wanted = SwitchBranch::new_zeroed();
    wanted.name = field(name);
    // SAFETY: the ioctl reads this structure.
    let wanted = unsafe { Setter::<{ SWITCH as Opcode }, SwitchBranch>::new(wanted) };
    // SAFETY: as above; nothing else changes in this process.
    unsafe { ioctl(mount, wanted) }
}

/// Commits.
///
/// # Errors
///
/// What the file system refuses.
pub fn commit(mount: &File) -> Result<(), Errno> {
    // SAFETY: this ioctl has no argument.
    let wanted = unsafe { NoArg::<{ COMMIT as Opcode }>::new() };
    // SAFETY: nothing changes in this process's memory but that mappings end.
    unsafe { ioctl(mount, wanted) }
}

/// Aborts.
///
/// # Errors
///
/// What the file system refuses.
pub fn abort(mount: &File) -> Result<(), Errno> {
    // SAFETY: this ioctl has no argument.
    let wanted = unsafe { NoArg::<{ ABORT as Opcode }>::new() };
    // SAFETY: nothing changes in this process's memory but that mappings end.
    unsafe { ioctl(mount, wanted) }
}

/// Some ioctl that does not exist.
///
/// # Errors
///
/// ENOTTY, one hopes.
pub fn nonsense(mount: &File) -> Result<(), Errno> {
    // SAFETY: this number means nothing.
    let wanted = unsafe { NoArg::<0xda7f>::new() };
    // SAFETY: as above.
    unsafe { ioctl(mount, wanted) }
}

/// How many branches there are, and as many of them as `room` has.
///
/// # Errors
///
/// What the file system refuses.
pub fn list_some(mount: &File, room: usize) -> Result<(usize, Vec<Branch>), Errno> {
    let mut entries = vec![BranchStatus::new_zeroed(); room];
    let mut wanted = ListBranches::new_zeroed();
    wanted.entries = (entries.as_mut_ptr().addr() as u64).into();
    wanted.capacity = (room as u32).into();
    // SAFETY: the ioctl reads and writes this structure.
    let update = unsafe { Updater::<{ LIST as Opcode }, ListBranches>::new(&mut wanted) };
    entries.as_mut_ptr().expose_provenance();
    // SAFETY: as above; besides, it writes at most `room` entries to the array.
    unsafe { ioctl(mount, update) }?;
    let count = wanted.count.get() as usize;
    let branches = entries.iter().take(count).map(|entry| Branch {
        name: String::from_utf8_lossy(&entry.name).trim_end_matches('\0').to_owned(),
        id: entry.id.get(),
        parent: entry.parent.get(),
        is_owned: entry.owner.get() != 0,
        is_current: entry.flags.get() & CURRENT != 0,
    });
    Ok((count, branches.collect()))
}

/// All of them.
///
/// # Errors
///
/// What the file system refuses.
pub fn list(mount: &File) -> Result<Vec<Branch>, Errno> {
    list_some(mount, 256).map(|(_, branches)| branches)
}

/// One of them.
///
/// # Panics
///
/// If they cannot be listed.
#[must_use]
#[track_caller]
pub fn find(mount: &File, name: &str) -> Option<Branch> {
    let branches = list(mount).expect("branches can be listed");
    branches.into_iter().find(|branch| branch.name == name)
}

//! A look at the shared memory file with the engine, from this process.

use crate::error::{Error, Result};
use crate::memory::SharedMemory;
use daxfs::std_platform::{MappedFile, StdPlatform};
use daxfs::{
    BranchInfo, BranchName, Identity, LastLink, MemberInfo, MemberState, Mount, MountOptions,
    Region, Volume,
};
use std::fs::File;

/// What does not hold, in words.
pub(super) fn wrong(what: impl ToString) -> Error {
    Error::Story(what.to_string())
}

pub(super) fn region(memory: &SharedMemory, writable: bool) -> Result<Region<MappedFile>> {
    let failed = |reason| Error::File { path: memory.path().into(), action: "map it", reason };
    let file = File::options().read(true).write(writable).open(memory.path()).map_err(failed)?;
    MappedFile::new(&file, writable).map(Region::new).map_err(failed)
}

/// The range, for looking only.
///
/// # Errors
///
/// [`Error::File`].
pub fn read_only(memory: &SharedMemory) -> Result<Region<MappedFile>> {
    region(memory, false)
}

fn is_called(member: &MemberInfo, name: &str) -> bool {
    member.identity == Identity::new(member.identity.kernel, name.as_bytes())
}

/// Confirms that all kernels that used the range are dead.
///
/// # Errors
///
/// [`Error::File`]; [`Error::Story`] for what the engine says.
pub fn reap_all(memory: &SharedMemory) -> Result<()> {
    let volume = Volume::open(StdPlatform, region(memory, true)?).map_err(wrong)?;
    volume.reap_all().map_err(wrong)
}

/// Confirms the death of the kernel that calls itself `name` in the member table, and of no other. Says how
/// many members it was.
///
/// # Errors
///
/// As [`reap_all`].
pub fn confirm(memory: &SharedMemory, name: &str) -> Result<u32> {
    let volume = Volume::open(StdPlatform, region(memory, true)?).map_err(wrong)?;
    let mut kernels = Vec::new();
    volume
        .members(&mut |member| {
            if is_called(member, name) && !kernels.contains(&member.identity.kernel) {
                kernels.push(member.identity.kernel);
            }
        })
        .map_err(wrong)?;
    kernels.into_iter().map(|kernel| volume.reap_kernel(kernel).map_err(wrong)).sum()
}

/// Whether somebody has noticed that the member called `name` does not show any life.
///
/// # Errors
///
/// As [`reap_all`].
pub fn is_expired(memory: &SharedMemory, name: &str) -> Result<bool> {
    let volume = Volume::open(StdPlatform, region(memory, false)?).map_err(wrong)?;
    let mut expired = false;
    volume
        .members(&mut |member| {
            expired |= is_called(member, name) && member.state == MemberState::Expired;
        })
        .map_err(wrong)?;
    Ok(expired)
}

/// The branches that have a record: those that are live, and those that have ended and still hold space.
///
/// # Errors
///
/// As [`reap_all`].
pub fn branches(memory: &SharedMemory) -> Result<Vec<BranchInfo>> {
    let volume = Volume::open(StdPlatform, region(memory, false)?).map_err(wrong)?;
    let mut branches = Vec::new();
    volume.branches(&mut |branch| branches.push(*branch)).map_err(wrong)?;
    Ok(branches)
}

/// The content of a file as branch `name` has it; nothing if there is no such file. Everything in the
/// image is checked first.
///
/// # Errors
///
/// As [`reap_all`].
pub fn read(memory: &SharedMemory, name: &str, path: &str) -> Result<Option<Vec<u8>>> {
    let branch = BranchName::new(name.as_bytes());
    let options = MountOptions { branch, validate: true, ..MountOptions::default() };
    let mount = Mount::new(StdPlatform, region(memory, true)?, &options).map_err(wrong)?;
    let content = match mount.resolve(path.as_bytes(), LastLink::Keep) {
        Err(daxfs::Error::NotFound) => None,
        Err(error) => return Err(wrong(error)),
        Ok(found) => {
            let size = usize::try_from(found.size).map_err(wrong)?;
            let mut bytes = vec![0; size];
            let count = mount.read(found.ino, 0, &mut bytes).map_err(wrong)?;
            if count != size {
                return Err(wrong(format!("{path}: {count} bytes instead of {size}")));
            }
            Some(bytes)
        }
    };
    mount.unmount().map_err(wrong)?;
    Ok(content)
}

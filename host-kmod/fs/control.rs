// SPDX-License-Identifier: GPL-2.0

//! Ioctls: what user tools do with the branches of a mount.

use crate::error::{IntoKernel, Reason};
use crate::mount::Daxfs;
use daxfs::format::branch::NAME_SIZE;
use daxfs::format::ioctl::{self, BranchStatus, CreateBranch, ListBranches, SwitchBranch};
use daxfs::{BranchInfo, BranchName};
use kernel::prelude::*;
use kernel::uaccess::{UserPtr, UserSlice};
use vfs::file::Argument;
use vfs::super_block::SuperBlock;
use vfs::system::is_administrator;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Does what the command says.
pub(crate) fn ioctl(sb: &SuperBlock<Daxfs>, command: u32, argument: &Argument) -> Result<i32> {
    let fs = sb.data();
    match command {
        ioctl::LIST => list(&fs, argument)?,
        ioctl::CREATE | ioctl::SWITCH | ioctl::COMMIT | ioctl::ABORT => {
            if !is_administrator() {
                return Err(EPERM);
            }
            let done = match command {
                ioctl::CREATE => create(&fs, argument),
                ioctl::SWITCH => switch(&fs, argument),
                ioctl::COMMIT => fs.engine().commit().report(),
                _ => fs.engine().abort().report(),
            };
            // Also where it failed: it may have got half way.
            sb.set_read_only(fs.is_read_only());
            done?;
        }
        _ => return Err(ENOTTY),
    }
    Ok(0)
}

/// Errors of the branch tree have reasons that a number cannot tell.
trait Report<T> {
    /// Writes the reason to the kernel's log.
    fn report(self) -> Result<T>;
}

impl<T> Report<T> for daxfs::Result<T> {
    fn report(self) -> Result<T> {
        if let Err(error) = &self {
            pr_info!("branch operation: {}\n", Reason(error));
        }
        self.errno()
    }
}

/// Copies a structure from the process.
fn read<S: FromBytes + IntoBytes>(argument: &Argument) -> Result<S> {
    let mut value = S::new_zeroed();
    argument.user_slice(size_of::<S>()).reader().read_slice(value.as_mut_bytes())?;
    Ok(value)
}

/// Copies a structure to the process.
fn write<S: IntoBytes + Immutable>(argument: &Argument, value: &S) -> Result {
    argument.user_slice(size_of::<S>()).writer().write_slice(value.as_bytes())
}

fn zero(bytes: &[u8]) -> Result {
    if bytes.iter().all(|&byte| byte == 0) {
        Ok(())
    } else {
        Err(EINVAL)
    }
}

/// A name, with nothing but zeros behind it.
fn name(field: &[u8; NAME_SIZE]) -> Result<BranchName> {
    BranchName::from_field(field).filter(|name| name.to_field() == *field).ok_or(EINVAL)
}

fn create(fs: &Daxfs, argument: &Argument) -> Result {
    let wanted: CreateBranch = read(argument)?;
    zero(wanted.flags.as_bytes())?;
    zero(&wanted.reserved)?;
    let parent = if wanted.parent == [0; NAME_SIZE] { None } else { Some(name(&wanted.parent)?) };
    fs.engine().create_branch(&name(&wanted.name)?, parent.as_ref()).report()
}

fn switch(fs: &Daxfs, argument: &Argument) -> Result {
    let wanted: SwitchBranch = read(argument)?;
    zero(wanted.flags.as_bytes())?;
    zero(&wanted.reserved)?;
    fs.engine().switch(&name(&wanted.name)?).report()
}

fn list(fs: &Daxfs, argument: &Argument) -> Result {
    let mut wanted: ListBranches = read(argument)?;
    zero(&wanted.reserved)?;
    let room = wanted.capacity.get();
    let current = fs.engine().info().branch_id;
    let mut found = KVec::<BranchStatus>::new();
    let (mut count, mut failed) = (0_u32, None);
    let mut note = |branch: &BranchInfo| {
        if !branch.is_live() {
            return;
        }
        if count < room {
            let status = status(branch, current == Some(branch.id));
            failed = failed.or(found.push(status, GFP_KERNEL).err());
        }
        count += 1;
    };
    fs.engine().branches(&mut note).errno()?;
    if failed.is_some() {
        return Err(ENOMEM);
    }
    wanted.count = count.into();
    let entries = usize::try_from(wanted.entries.get()).map_err(|_| EFAULT)?;
    let bytes = found.as_slice().as_bytes();
    UserSlice::new(UserPtr::from_addr(entries), bytes.len()).writer().write_slice(bytes)?;
    write(argument, &wanted)
}

fn status(branch: &BranchInfo, is_current: bool) -> BranchStatus {
    let mut name = [0; NAME_SIZE];
    for (to, from) in name.iter_mut().zip(branch.name.as_bytes()) {
        *to = *from;
    }
    BranchStatus {
        id: branch.id.get().into(),
        parent: branch.parent.map_or(0, |parent| parent.get()).into(),
        segments: branch.segments.into(),
        slot: branch.slot.get().into(),
        owner: branch.owner.map_or(0, |owner| u32::from(owner.get()) + 1).into(),
        flags: if is_current { ioctl::CURRENT } else { 0 }.into(),
        reserved0: 0.into(),
        name,
        reserved1: [0; 56],
    }
}

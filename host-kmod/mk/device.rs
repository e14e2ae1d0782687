// SPDX-License-Identifier: GPL-2.0

//! `/dev/daxfs_mk`: the ioctls of `daxfs_format::multikernel`, and the places' memory.

use crate::helpers;
use crate::machine;
use crate::tables::PAGE;
use daxfs_format::multikernel as abi;
use kernel::bindings;
use kernel::error::to_result;
use kernel::ffi::c_int;
use kernel::fs::File;
use kernel::miscdevice::{MiscDevice, MiscDeviceRegistration};
use kernel::mm::virt::VmaNew;
use kernel::prelude::*;
use kernel::uaccess::{UserPtr, UserSlice};
use zerocopy::{FromBytes, IntoBytes};

/// The device, opened.
pub(crate) struct Device;

#[vtable]
impl MiscDevice for Device {
    type Ptr = KBox<Self>;

    fn open(_file: &File, _misc: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        // SAFETY: it only asks.
        if !unsafe { bindings::capable(bindings::CAP_SYS_RAWIO as c_int) } {
            return Err(EPERM);
        }
        Ok(KBox::new(Self, GFP_KERNEL)?)
    }

    fn mmap(_device: &Self, _file: &File, vma: &VmaNew) -> Result {
        let len = (vma.end() - vma.start()) as u64;
        // SAFETY: the area is being set up.
        let (first, is_shared) = unsafe {
            (helpers::daxfs_mk_offset(vma.as_ptr()), helpers::daxfs_mk_is_shared(vma.as_ptr()))
        };
        let start = (first as u64).checked_mul(PAGE).ok_or(EINVAL)?;
        if !is_shared || !machine::with(|machine| Ok(machine.is_ours(start, len)))? {
            return Err(EINVAL);
        }
        vma.try_clear_mayexec()?;
        vma.set_dontcopy();
        vma.set_dontdump();
        // SAFETY: the area is being set up, and so much memory from there on is a place's.
        to_result(unsafe { helpers::daxfs_mk_map(vma.as_ptr(), first) })
    }

    fn ioctl(_device: &Self, _file: &File, command: u32, argument: usize) -> Result<isize> {
        match command {
            abi::QUERY => {
                let wanted: abi::Place = read(argument)?;
                zero(wanted.flags.as_bytes())?;
                let place = machine::with(|machine| machine.query(wanted.index.get()))?;
                user(argument, size_of::<abi::Place>()).writer().write_slice(place.as_bytes())?;
            }
            abi::START => {
                let wanted: abi::Start = read(argument)?;
                zero(wanted.flags.as_bytes())?;
                zero(&wanted.reserved)?;
                machine::with(|machine| machine.start(&wanted))?;
            }
            abi::STOP => {
                let wanted: abi::Stop = read(argument)?;
                zero(wanted.flags.as_bytes())?;
                zero(&wanted.reserved)?;
                machine::with(|machine| machine.stop(&wanted))?;
            }
            _ => return Err(ENOTTY),
        }
        Ok(0)
    }
}

fn user(argument: usize, len: usize) -> UserSlice {
    UserSlice::new(UserPtr::from_addr(argument), len)
}

/// Copies a structure from the process.
fn read<S: FromBytes + IntoBytes>(argument: usize) -> Result<S> {
    let mut value = S::new_zeroed();
    user(argument, size_of::<S>()).reader().read_slice(value.as_mut_bytes())?;
    Ok(value)
}

fn zero(bytes: &[u8]) -> Result {
    if bytes.iter().all(|&byte| byte == 0) {
        Ok(())
    } else {
        Err(EINVAL)
    }
}

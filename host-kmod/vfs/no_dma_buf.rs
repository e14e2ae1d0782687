// SPDX-License-Identifier: GPL-2.0

//! Buffers of devices, in a kernel that has none.

use core::ptr::NonNull;
use kernel::prelude::*;

/// There is none.
pub enum DmaBuf {}

impl DmaBuf {
    /// There is none.
    pub fn get(_fd: i32) -> Result<Self> {
        Err(EOPNOTSUPP)
    }

    /// There is none.
    pub fn map(&self) -> Result<MappedBuffer> {
        match *self {}
    }
}

/// There is none.
pub enum MappedBuffer {}

impl MappedBuffer {
    pub(crate) fn address(&self) -> NonNull<u8> {
        match *self {}
    }

    pub(crate) fn size(&self) -> usize {
        match *self {}
    }

    pub(crate) fn frame(&self, _offset: u64) -> u64 {
        match *self {}
    }
}

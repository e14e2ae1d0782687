//! `/dev/daxfs_mk`.

use crate::error::{Error, Result};
use daxfs::Region;
use daxfs::std_platform::MappedFile;
use daxfs_format::multikernel::{DEVICE, NO_CPU, Place, QUERY, START, STOP, Start, Stop};
use rustix::ioctl::{Setter, Updater, ioctl};
use std::fs::{File, OpenOptions};
use std::io;
use zerocopy::FromZeros;

/// The device, opened.
#[derive(Debug)]
pub(crate) struct Device(File);

impl Device {
    pub(crate) fn open() -> Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(DEVICE);
        Ok(Self(file.map_err(Error::file(DEVICE, "open"))?))
    }

    /// Describes a place.
    pub(crate) fn query(&self, index: u32) -> Result<Place> {
        let mut place = Place::new_zeroed();
        place.index = index.into();
        // SAFETY: the opcode is that of the structure.
        let operation = unsafe { Updater::<QUERY, Place>::new(&mut place) };
        // SAFETY: the device of this name has this ioctl, which writes the structure only.
        let done = unsafe { ioctl(&self.0, operation) };
        done.map_err(failed("there is no such place"))?;
        Ok(place)
    }

    /// All places.
    pub(crate) fn places(&self) -> Result<Vec<Place>> {
        let first = self.query(0)?;
        (0..first.count.get()).map(|index| self.query(index)).collect()
    }

    /// Starts a kernel.
    pub(crate) fn start(&self, wanted: Start) -> Result<()> {
        // SAFETY: the opcode is that of the structure.
        let operation = unsafe { Setter::<START, Start>::new(wanted) };
        // SAFETY: the device of this name has this ioctl; it starts a kernel in memory that is not
        // this program's.
        unsafe { ioctl(&self.0, operation) }.map_err(failed("it cannot be started"))
    }

    /// Stops the kernel of a place.
    pub(crate) fn stop(&self, index: u32) -> Result<()> {
        let mut wanted = Stop::new_zeroed();
        wanted.index = index.into();
        // SAFETY: the opcode is that of the structure.
        let operation = unsafe { Setter::<STOP, Stop>::new(wanted) };
        // SAFETY: the device of this name has this ioctl, which touches no memory of this program's.
        unsafe { ioctl(&self.0, operation) }.map_err(failed("it cannot be stopped"))
    }

    /// The first `len` bytes of a place's memory.
    pub(crate) fn map(&self, place: &Place, len: u64) -> Result<Region<MappedFile>> {
        let mapped = MappedFile::part(&self.0, place.phys.get(), len, true);
        let failed = |reason| Error::Device { action: "its memory cannot be mapped", reason };
        Ok(Region::new(mapped.map_err(failed)?))
    }
}

fn failed(action: &'static str) -> impl FnOnce(rustix::io::Errno) -> Error {
    move |reason| Error::Device { action, reason: io::Error::from(reason) }
}

/// The processor that runs a place's kernel.
pub(crate) fn processor(place: &Place) -> Option<u32> {
    Some(place.cpu.get()).filter(|&cpu| cpu != NO_CPU)
}

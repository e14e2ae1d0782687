// SPDX-License-Identifier: GPL-2.0

//! Parameters of a mount.

use crate::mount::Daxfs;
use daxfs::{Access, BranchName, MountOptions, ParsedOptions, Persistence};
use kernel::prelude::*;
use kernel::seq_file::SeqFile;
use kernel::str::CString;
use vfs::context::{Context, Parameter, Value, Wrong};
use vfs::dma_buf::DmaBuf;
use vfs::system::show_option;

/// What a remount is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Commit the branch.
    Commit,
    /// Discard the branch.
    Abort,
}

/// What was gathered.
#[derive(Default)]
pub(crate) struct Options {
    parsed: ParsedOptions,
    buffer: Option<DmaBuf>,
    ending: Option<Ending>,
}

impl Options {
    /// Takes a parameter. The VFS knows `ro`, `rw` and the source.
    pub(crate) fn set(&mut self, key: &[u8], value: &Value<'_>) -> Result<Parameter, Wrong> {
        let value = match value {
            Value::Flag => None,
            Value::String(value) => Some(*value),
            Value::Descriptor(fd) if key == b"dmabuf" => {
                let wrong = |error| ("dmabuf: the descriptor is not one of a dma-buf", error);
                self.buffer = Some(DmaBuf::get(*fd).map_err(wrong)?);
                return Ok(Parameter::Taken);
            }
            Value::Descriptor(_) | Value::Other => return Ok(Parameter::Unknown),
        };
        match (key, value) {
            (b"commit", None) => self.ending = Some(Ending::Commit),
            (b"abort", None) => self.ending = Some(Ending::Abort),
            _ => match self.parsed.set(key, value) {
                Ok(true) => {}
                Ok(false) => return Ok(Parameter::Unknown),
                Err(daxfs::Error::InvalidArgument(what)) => return Err((what, EINVAL)),
                Err(_) => return Err(("wrong parameter", EINVAL)),
            },
        }
        Ok(Parameter::Taken)
    }

    /// What a remount is for.
    pub(crate) fn ending(&self) -> Option<Ending> {
        self.ending
    }

    /// The buffer that the image is in.
    pub(crate) fn buffer(&self) -> Option<&DmaBuf> {
        self.buffer.as_ref()
    }

    /// Everything else.
    pub(crate) fn parsed(&self) -> &ParsedOptions {
        &self.parsed
    }

    /// What the engine is told.
    ///
    /// With the old system call, saying `rw` is saying nothing. So naming a branch says it, too: it is
    /// there to be written to.
    pub(crate) fn for_engine(&self, context: &Context<Daxfs>) -> MountOptions {
        let mount = self.parsed.mount;
        let names_a_branch = mount.branch.is_some() || mount.parent.is_some() || mount.keep;
        let writes = context.asks_for_writing() || (names_a_branch && !context.is_read_only());
        MountOptions { access: if writes { Access::ReadWrite } else { Access::ReadOnly }, ..mount }
    }

    /// Writes them as `/proc/mounts` has them. `branch` is the one that the mount is on.
    pub(crate) fn show(&self, branch: Option<&[u8]>, to: &SeqFile) {
        let text = |name: &kernel::str::CStr, value: &[u8]| {
            if let Ok(value) =
                CString::try_from_fmt(fmt!("{}", kernel::str::BStr::from_bytes(value)))
            {
                show_option(to, name, Some(&value));
            }
        };
        let number = |name: &kernel::str::CStr, value: Option<u64>| {
            if let Some(Ok(value)) = value.map(|value| CString::try_from_fmt(fmt!("{value:#x}"))) {
                show_option(to, name, Some(&value));
            }
        };
        number(c"phys", self.parsed.phys);
        number(c"size", self.parsed.size);
        if let Some(branch) = branch {
            text(c"branch", branch);
        }
        if let Some(name) = &self.parsed.mount.name {
            text(c"name", name.as_bytes());
        }
        if self.parsed.persistence == Persistence::Persistent {
            show_option(to, c"persist", Some(c"flush"));
        }
        if self.parsed.mount.validate {
            show_option(to, c"validate", None);
        }
        if self.parsed.mount.keep {
            show_option(to, c"keep", None);
        }
    }

    /// Whether `other`, of a remount, asks for nothing that cannot be changed. `branch` is the one that
    /// the mount is on.
    pub(crate) fn admits(
        &self,
        other: &Self,
        branch: Option<&BranchName>,
    ) -> Result<(), &'static str> {
        let (now, new) = (&self.parsed, &other.parsed);
        if new.phys.is_some_and(|phys| now.phys != Some(phys)) {
            return Err("phys= cannot be changed");
        }
        if new.size.is_some_and(|size| now.size != Some(size)) {
            return Err("size= cannot be changed");
        }
        if new.mount.branch.is_some() && new.mount.branch.as_ref() != branch {
            return Err("branch= cannot be changed: daxfs-branch switch goes to another");
        }
        if new.mount.parent.is_some() && new.mount.parent != now.mount.parent {
            return Err("parent= cannot be changed");
        }
        if new.mount.name.is_some() && new.mount.name != now.mount.name {
            return Err("name= cannot be changed");
        }
        if new.mount.keep && !now.mount.keep {
            return Err("keep cannot be changed");
        }
        if new.persistence == Persistence::Persistent && now.persistence != new.persistence {
            return Err("persist= cannot be changed");
        }
        Ok(())
    }

    /// A copy of everything but what a remount is for.
    pub(crate) fn for_mount(&self) -> Self {
        Self { parsed: self.parsed, buffer: None, ending: None }
    }
}

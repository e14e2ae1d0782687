//! The machine a guest kernel gets: QEMU's command line.

use super::Accel;
use super::process::bound_to_us;
use crate::memory::SharedMemory;
use crate::setup::{Guest, Qemu};
use daxfs_format::handover::EXIT_PORT;
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

/// Where the shared range is in the machine's physical memory.
pub const SHARED_PHYS: u64 = 0x1_0000_0000;

/// What is at the first serial port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Console {
    /// QEMU's standard error: messages.
    Messages,
    /// The terminal; Ctrl-A X ends the machine.
    Terminal,
}

/// A machine.
#[derive(Debug)]
pub struct Machine<'a> {
    /// The QEMU to use.
    pub qemu: &'a Qemu,
    /// What executes its instructions.
    pub accel: Accel,
    /// The kernel.
    pub guest: &'a Guest,
    /// The shared range.
    pub memory: &'a SharedMemory,
    /// Options behind `phys=` and `size=`, in mount syntax.
    pub options: &'a str,
    /// A file with a script.
    pub script: Option<&'a Path>,
    /// The console.
    pub console: Console,
    /// MiB of memory of its own.
    pub own_mib: u32,
}

impl Machine<'_> {
    /// QEMU's command line. With a script, standard output carries what its commands print.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = bound_to_us(&self.qemu.program);
        command.envs(self.qemu.environment.iter().map(|(k, v)| (k, v)));
        command.args(&self.qemu.arguments);
        let size = self.memory.size();
        // The machine's address space has to reach past the range.
        let max = (u64::from(self.own_mib) << 20) + size.next_multiple_of(1 << 30) + (1 << 30);
        let mut arg = |name: &str, value: OsString| {
            command.arg(name).arg(value);
        };
        arg("-M", "q35".into());
        // One processor runs; QEMU has to believe in a second, and in threads, or its
        // compare-and-swap is not atomic towards other processes that map the range.
        arg("-smp", "1,maxcpus=2".into());
        match self.accel {
            Accel::Kvm => {
                arg("-accel", "kvm".into());
                arg("-cpu", "host".into());
            }
            Accel::Tcg => {
                arg("-accel", "tcg,thread=multi".into());
                arg("-cpu", "max".into());
            }
        }
        arg("-m", format!("{}M,slots=2,maxmem={}M", self.own_mib, max >> 20).into());
        let mut backend = OsString::from("memory-backend-file,id=shm,share=on,mem-path=");
        backend.push(comma_doubled(self.memory.path()));
        backend.push(format!(",size={size}"));
        arg("-object", backend);
        arg("-device", format!("pc-dimm,id=shared,memdev=shm,addr={SHARED_PHYS:#x}").into());
        arg("-kernel", self.guest.elf.clone().into());
        let separator = if self.options.is_empty() { "" } else { "," };
        let options = self.options;
        let line = format!("phys={SHARED_PHYS:#x},size={size:#x}{separator}{options}");
        arg("-append", line.into());
        match self.console {
            Console::Messages => {
                arg("-chardev", "file,id=com1,path=/proc/self/fd/2,append=on".into());
            }
            Console::Terminal => {
                arg("-chardev", "stdio,id=com1,mux=on,signal=off".into());
            }
        }
        arg("-serial", "chardev:com1".into());
        if let Some(script) = self.script {
            arg("-initrd", script.into());
            arg("-chardev", "stdio,id=com2,signal=off".into());
            arg("-serial", "chardev:com2".into());
        }
        arg("-device", format!("isa-debug-exit,iobase={EXIT_PORT:#x},iosize=0x04").into());
        arg("-display", "none".into());
        command.args(["-no-reboot", "-nodefaults"]);
        command
    }
}

/// A path as QEMU's option syntax wants it.
fn comma_doubled(path: &Path) -> OsString {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let bytes = path.as_os_str().as_bytes();
    let doubled = bytes.iter().flat_map(|&b| if b == b',' { vec![b, b] } else { vec![b] });
    OsString::from_vec(doubled.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comma_in_a_path_survives_qemu() {
        assert_eq!(comma_doubled(Path::new("/a,b/c")), OsString::from("/a,,b/c"));
    }
}

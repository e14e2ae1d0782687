//! A machine: QEMU's command line, put together.

use super::Accel;
use super::process::bound_to_us;
use crate::memory::SharedMemory;
use crate::setup::Qemu;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::Command;

/// Where the shared range is in the machine's physical memory.
pub const SHARED_PHYS: u64 = 0x1_0000_0000;

/// The most MiB of memory of its own that a machine can have below the shared range.
pub const MOST_MIB: u32 = 2815;

/// Where a stream of bytes that leaves the machine goes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stream {
    /// QEMU's standard output.
    Output,
    /// QEMU's standard error, where its own messages go as well.
    Messages,
    /// What QEMU has for standard input, if that is the writing end of a pipe: a third way out.
    Input,
    /// QEMU's standard output, and its standard input the other way; byte for byte.
    Both,
    /// The terminal, both ways; Ctrl-A X ends the machine.
    Terminal,
}

/// What a machine consists of.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// What executes its instructions.
    pub accel: Accel,
    /// Processors.
    pub cpus: u32,
    /// MiB of memory of its own.
    pub own_mib: u32,
    /// Bytes of each persistent memory device (NVDIMM).
    pub nvdimms: [u64; 2],
}

impl Shape {
    /// A machine without devices of its own.
    #[must_use]
    pub const fn new(accel: Accel, cpus: u32, own_mib: u32) -> Self {
        Self { accel, cpus, own_mib, nvdimms: [0; 2] }
    }
}

/// Devices that are memory begin at multiples of this.
const DEVICE_ALIGNMENT: u64 = 1 << 30;

/// A machine.
#[derive(Debug)]
pub struct Machine {
    command: Command,
    streams: usize,
    virtio_serial: bool,
}

impl Machine {
    /// A machine with the shared range, and nothing to boot yet.
    #[must_use]
    pub fn new(qemu: &Qemu, shape: Shape, memory: &SharedMemory) -> Self {
        let mut command = bound_to_us(&qemu.program);
        command.envs(qemu.environment.iter().map(|(k, v)| (k, v)));
        command.args(&qemu.arguments);
        let mut machine = Self { command, streams: 0, virtio_serial: false };
        let size = memory.size();
        let nvdimms = shape.nvdimms.iter().filter(|&&bytes| bytes > 0);
        let kind = if nvdimms.clone().count() > 0 { "q35,nvdimm=on" } else { "q35" };
        machine.arg("-M", kind);
        // Even if one processor runs: QEMU has to believe in a second, and in threads, or its
        // compare-and-swap is not atomic towards other processes that map the range.
        let (cpus, most) = match shape.accel {
            Accel::Icount => (1, 1),
            Accel::Kvm | Accel::Tcg => (shape.cpus, shape.cpus.max(2)),
        };
        machine.arg("-smp", format!("{cpus},maxcpus={most}"));
        match shape.accel {
            Accel::Kvm => machine.arg("-accel", "kvm").arg("-cpu", "host"),
            Accel::Tcg => machine.arg("-accel", "tcg,thread=multi").arg("-cpu", "max"),
            Accel::Icount => machine
                .arg("-accel", "tcg,thread=single")
                .arg("-icount", "shift=0,sleep=off")
                // A string instruction counts once for every step it takes: with single bytes, that would
                // count nothing but bytes.
                .arg("-cpu", "max,-erms,-fsrm"),
        };
        let mut backend = OsString::from("memory-backend-file,id=shm,share=on,mem-path=");
        backend.push(comma_doubled(memory.path()));
        backend.push(format!(",size={size}"));
        machine.arg("-object", backend);
        machine.arg("-device", format!("pc-dimm,id=shared,memdev=shm,addr={SHARED_PHYS:#x}"));
        let mut next = SHARED_PHYS + size.next_multiple_of(DEVICE_ALIGNMENT);
        let mut devices = Vec::new();
        for (number, &bytes) in nvdimms.enumerate() {
            let bytes = bytes.next_multiple_of(2 << 20);
            machine.arg("-object", format!("memory-backend-ram,id=nv{number},size={bytes}"));
            devices.push(format!("nvdimm,memdev=nv{number},addr={next:#x}"));
            next += bytes.next_multiple_of(DEVICE_ALIGNMENT);
        }
        // Linux numbers them from the last to the first.
        for device in devices.iter().rev() {
            machine.arg("-device", device);
        }
        // The machine's address space has to reach past all of them.
        let max = (u64::from(shape.own_mib) << 20) + (next - SHARED_PHYS) + DEVICE_ALIGNMENT;
        machine.arg("-m", format!("{}M,slots=4,maxmem={}M", shape.own_mib, max >> 20));
        machine.arg("-display", "none");
        machine.command.args(["-no-reboot", "-nodefaults"]);
        machine
    }

    /// Adds an option with a value.
    pub fn arg(&mut self, name: &str, value: impl AsRef<OsStr>) -> &mut Self {
        self.command.arg(name).arg(value);
        self
    }

    /// The kernel that is booted, and what it is told.
    pub fn kernel(&mut self, image: &Path, line: &str) -> &mut Self {
        self.arg("-kernel", image).arg("-append", line)
    }

    /// A file that is in the machine's memory when the kernel starts.
    pub fn initrd(&mut self, file: &Path) -> &mut Self {
        self.arg("-initrd", file)
    }

    /// The next serial port.
    pub fn serial(&mut self, stream: Stream) -> &mut Self {
        let id = self.stream(stream);
        self.arg("-serial", format!("chardev:{id}"))
    }

    /// The next serial port, connected to pipes: what it sends goes to the one at `path` with `.out` behind
    /// it, what it gets comes from the one with `.in`.
    pub fn serial_pipes(&mut self, path: &Path) -> &mut Self {
        let id = self.id();
        let mut backend = OsString::from(format!("pipe,id={id},path="));
        backend.push(comma_doubled(path));
        self.arg("-chardev", backend).arg("-serial", format!("chardev:{id}"))
    }

    /// A port for a stream of bytes, quicker than a serial port; Linux finds it by its name.
    pub fn port(&mut self, stream: Stream, name: &str) -> &mut Self {
        let id = self.stream(stream);
        self.virtio_serial().arg("-device", format!("virtserialport,chardev={id},name={name}"))
    }

    /// A console, quicker than a serial port; Linux has it as `/dev/hvc0`.
    pub fn console(&mut self, stream: Stream) -> &mut Self {
        let id = self.stream(stream);
        self.virtio_serial().arg("-device", format!("virtconsole,chardev={id}"))
    }

    fn virtio_serial(&mut self) -> &mut Self {
        if !std::mem::replace(&mut self.virtio_serial, true) {
            self.arg("-device", "virtio-serial-pci");
        }
        self
    }

    /// A name for a stream.
    fn id(&mut self) -> String {
        self.streams += 1;
        format!("stream{}", self.streams)
    }

    fn stream(&mut self, stream: Stream) -> String {
        let id = self.id();
        let fd = |fd: u8| format!("file,id={id},path=/proc/self/fd/{fd},append=on");
        let backend = match stream {
            Stream::Input => fd(0),
            Stream::Output => fd(1),
            Stream::Messages => fd(2),
            Stream::Terminal => format!("stdio,id={id},mux=on,signal=off"),
            Stream::Both => format!("stdio,id={id},mux=off,signal=off"),
        };
        self.arg("-chardev", backend);
        id
    }

    /// The command that starts it.
    #[must_use]
    pub fn into_command(self) -> Command {
        self.command
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

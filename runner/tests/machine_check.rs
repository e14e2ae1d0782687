//! Memory that goes bad when it is read: machine checks, in the middle of copies.
//!
//! QEMU cannot make memory bad. But its debug server can stop the processor at the very instruction that
//! would read it, and its monitor can raise the machine check that real memory would raise there: address,
//! cause and place are those of the real one, and Linux does what it does then. It happens every time that
//! the bytes are about to be copied, as with memory that stays bad.

#[path = "common/debugger.rs"]
mod debugger;
#[path = "common/machine.rs"]
mod machine;

use debugger::{Debugger, Register};
use mkdaxfs::{BuildOptions, DeltaSize};
use runner::commands::linux::Prepared;
use runner::console::Lines;
use runner::linux::{Beside, Parts, Run, System};
use runner::memory::SharedMemory;
use runner::qemu::{AccelChoice, Shape, Signals};
use runner::setup::Flavour;
use std::fs;
use std::io::{self, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

const PAGE: usize = 4096;

/// What is in the pages that go bad: at the beginning of one of a file, and as a name in a directory.
const MARK: &str = "this page goes bad";

/// The functions that copy what may be bad, by the ends of their names, and which of their arguments is the
/// source: Linux's, to processes, and the module's, of everything else. The length is the third for both.
const FUNCTIONS: [(&str, Register); 2] =
    [("copy_mc_enhanced_fast_string", Register::Rsi), ("bad_memory4copy", Register::Rdi)];

/// How their instructions begin that copy: `rep movs`, of words or bytes.
const COPIES: [&[u8]; 2] = [&[0xf3, 0x48, 0xa5], &[0xf3, 0xa4]];

/// Bytes of a copy that are looked at.
const LOOK: u64 = 256;

/// A processor of Intel's, as QEMU has it: only theirs recover from machine checks there.
const PROCESSOR: &str = "max,vendor=GenuineIntel";

/// An error that has to be dealt with: data were read that are lost, at a physical address, in a page.
/// Execution can go on at the instruction that read them.
const STATUS: u64 = 0xbd80_0000_0000_0134;
const GLOBAL_STATUS: u64 = 0b111;
const MISC: u64 = 2 << 6 | 12;

/// Reads page by page until that fails, then shows what there is; and the same with a directory.
const SCRIPT: &str = r#"
mount -t daxfs -o "$DAXFS_RANGE,rw,branch=b,parent=main" none /mnt || exit 1
read_pages() { dd if="/mnt/$1" of="/run/$1" bs=4096 2>/run/errors; }
echo "ready"; grep -E 'copy_mc_enhanced_fast_string$|bad_memory4copy' /proc/kallsyms; echo "go"
while read_pages file; do :; done
grep -o 'Input/output error' /run/errors
echo "before: $(wc -c </run/file) bytes"
# From here on it is known.
cat /mnt/file >/dev/null 2>&1 || echo "again: error"
dd if=/mnt/file of=/run/rest bs=4096 skip=3 2>/dev/null
echo "behind: $(wc -c </run/rest) bytes"
read_pages other && echo "other: $(wc -c </run/other) bytes"
while ls /mnt/large >/dev/null 2>/run/errors; do :; done
grep -o 'Input/output error' /run/errors | head -n 1
ls /mnt
echo more >/mnt/more && cat /mnt/more
dmesg | grep -o 'daxfs: memory has gone bad.*'
umount /mnt && echo unmounted
"#;

/// What becomes of the machine.
enum Event {
    /// It runs. (Another one comes if the first does not boot.)
    Started(Debugger),
    /// It reads the file; the functions are at these addresses.
    Ready(Vec<(u64, Register)>),
}

/// What the machine prints; tells of what is between `ready` and `go`.
struct Output {
    text: Vec<u8>,
    ready: Option<Sender<Event>>,
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend(bytes);
        let text = String::from_utf8_lossy(&self.text);
        let ready = if text.contains("\ngo\n") { self.ready.take() } else { None };
        if let Some(ready) = ready {
            let places = text.lines().filter_map(place).collect();
            // Who does not listen any more has said why.
            let _ = ready.send(Event::Ready(places));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where a line of `/proc/kallsyms` says that one of the functions is.
fn place(line: &str) -> Option<(u64, Register)> {
    let mut words = line.split_whitespace();
    let (address, name) = (words.next()?, words.nth(1)?);
    let (_, source) = FUNCTIONS.iter().find(|(end, _)| name.ends_with(end))?;
    Some((u64::from_str_radix(address, 16).ok()?, *source))
}

/// Makes the pages bad, until the machine is gone; counts the machine checks.
fn spoil(events: &Receiver<Event>, checks: &AtomicU32) -> io::Result<()> {
    let mut started = None;
    let (mut machine, places) = loop {
        match (events.recv(), started.take()) {
            (Ok(Event::Started(machine)), _) => started = Some(machine),
            (Ok(Event::Ready(places)), Some(machine)) => break (machine, places),
            _ => return Ok(()),
        }
    };
    machine.stop()?;
    let stop = |machine: &mut Debugger, is: bool| {
        places.iter().try_for_each(|&(function, _)| machine.stop_at(function, is))
    };
    loop {
        stop(&mut machine, true)?;
        machine.go()?;
        machine.wait()?;
        stop(&mut machine, false)?;
        let at = machine.register(Register::Rip)?;
        if is_spoilt(&mut machine, &places, at)? {
            while !is_copying(&mut machine)? {
                machine.step()?;
            }
            raise(&mut machine)?;
            checks.fetch_add(1, Ordering::Relaxed);
        } else {
            machine.step()?;
        }
    }
}

/// Whether a function is about to copy from a page that is to be bad.
fn is_spoilt(machine: &mut Debugger, places: &[(u64, Register)], at: u64) -> io::Result<bool> {
    let Some(&(_, source)) = places.iter().find(|(function, _)| *function == at) else {
        return Ok(false);
    };
    let (from, len) = (machine.register(source)?, machine.register(Register::Rdx)?);
    let bytes = machine.memory(from, len.min(LOOK) as usize)?;
    Ok(bytes.windows(MARK.len()).any(|bytes| bytes == MARK.as_bytes()))
}

fn is_copying(machine: &mut Debugger) -> io::Result<bool> {
    let at = machine.register(Register::Rip)?;
    let code = machine.memory(at, 3)?;
    Ok(COPIES.iter().any(|copies| code.starts_with(copies)))
}

/// Raises the machine check of what the next instruction reads.
fn raise(machine: &mut Debugger) -> io::Result<()> {
    let from = machine.register(Register::Rsi)?;
    let said = machine.monitor(&format!("gva2gpa {from:#x}"))?;
    let phys = said.split_whitespace().find_map(|word| word.strip_prefix("0x"));
    let phys = phys.ok_or_else(|| io::Error::other(format!("no address: {said:?}")))?;
    machine.monitor(&format!("mce 0 9 {STATUS:#x} {GLOBAL_STATUS:#x} 0x{phys} {MISC:#x}"))?;
    Ok(())
}

/// Hears of machines until it is over.
fn hear(listener: &UnixListener, over: &AtomicBool, events: &Sender<Event>) {
    while let Ok(machine) = Debugger::accept(listener) {
        if over.load(Ordering::Relaxed) || events.send(Event::Started(machine)).is_err() {
            return;
        }
    }
}

#[test]
fn a_machine_check_in_a_copy_is_an_io_error() {
    machine::needed();
    let report = Lines::default();
    let prepared = Prepared::new(Flavour::Plain, false, AccelChoice::Tcg, &report).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (root, image) = (folder.path().join("root"), folder.path().join("image"));
    fs::create_dir_all(root.join("large")).unwrap();
    for index in 0..100 {
        fs::write(root.join(format!("large/{index:03}")), "").unwrap();
    }
    fs::write(root.join("large").join(MARK), "").unwrap();
    let mut content: Vec<u8> = (0..5 * PAGE).map(|at| (at / 16) as u8).collect();
    fs::write(root.join("other"), &content).unwrap();
    content[2 * PAGE..][..MARK.len()].copy_from_slice(MARK.as_bytes());
    fs::write(root.join("file"), &content).unwrap();
    let options =
        BuildOptions { writable: Some(DeltaSize::FillTo(16 << 20)), ..BuildOptions::default() };
    mkdaxfs::build(&root, &image, &options, &()).unwrap();
    let memory = SharedMemory::copy_of(&image, Some(16 << 20)).unwrap();
    let system = System::new(&Parts {
        busybox: &prepared.programs.busybox,
        tools: &prepared.programs.tools,
        modules: &prepared.modules,
        packages: &[],
        additions: &[],
    })
    .unwrap();
    let socket = folder.path().join("debugger");
    let listener = UnixListener::bind(&socket).unwrap();
    let [chardev, server] = Debugger::options(&socket);
    let options = [chardev, server, ("-cpu", PROCESSOR.to_owned())];
    let log = folder.path().join("log");
    let run = Run {
        qemu: &prepared.qemu,
        shape: Shape::new(prepared.accel, 1, 512),
        kernel: &prepared.kernel.image,
        system: &system,
        memory: &memory,
        root: None,
        beside: Beside { options: &options, ..Beside::default() },
        append: "",
        timeout: Some(Duration::from_secs(300)),
        verbose: false,
        log: Some(&log),
    };
    let (sender, events) = mpsc::channel();
    let mut output = Output { text: Vec::new(), ready: Some(sender.clone()) };
    let mut errors = Vec::new();
    let (over, checks) = (AtomicBool::new(false), AtomicU32::new(0));
    let (status, ended) = thread::scope(|scope| {
        let (over, checks) = (&over, &checks);
        let spoiler = scope.spawn(move || spoil(&events, checks));
        scope.spawn(move || hear(&listener, over, &sender));
        let status = run.script(SCRIPT, &mut output, &mut errors, &Signals::ignored());
        // Nobody has to wait any more.
        output.ready = None;
        over.store(true, Ordering::Relaxed);
        drop(UnixStream::connect(&socket));
        (status, spoiler.join().unwrap())
    });
    let (text, errors) = (String::from_utf8_lossy(&output.text), String::from_utf8_lossy(&errors));
    let log = fs::read_to_string(log).unwrap_or_default();
    let about = format!("{status:?}, debugger: {ended:?}\n{text}\n{errors}\n{log}");
    assert_eq!(status.ok(), Some(0), "{about}");
    let said: Vec<&str> = text.lines().skip_while(|line| *line != "go").skip(1).collect();
    let expected = [
        "Input/output error",
        "before: 8192 bytes",
        "again: error",
        "behind: 8192 bytes",
        "other: 20480 bytes",
        "Input/output error",
        "file",
        "large",
        "other",
        "more",
    ];
    assert_eq!(said.get(..expected.len()), Some(&expected[..]), "{about}");
    let [told @ .., "unmounted"] = &said[expected.len()..] else { panic!("{about}") };
    // Each of them was reported.
    assert_eq!(told.len(), 3, "{about}");
    assert!(
        told.iter().all(|line| line.starts_with("daxfs: memory has gone bad at 0x")),
        "{about}"
    );
    // Once when the file was read, once when the file system looked whether it was that; and once when the
    // directory was listed.
    assert_eq!(checks.into_inner(), 3, "{about}");
}

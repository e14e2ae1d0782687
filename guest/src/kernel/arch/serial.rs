//! The console and the serial ports. Where the machine is this kernel's, COM1 is the console and COM2
//! takes what scripts print; where it is another's, the console is the port the starter named, if any,
//! together with the mailbox, and everything goes there.

use crate::kernel::mailbox;
use core::fmt;
use core::sync::atomic::{AtomicU16, Ordering};
use daxfs_guest::console::TypeAhead;
use spin::Mutex;
use uart_16550::backend::PioBackend;
use uart_16550::spec::registers::LSR;
use uart_16550::{BaudRate, Config, Uart16550};

/// I/O port of the first serial port.
pub const COM1: u16 = 0x3f8;
/// I/O port of the second serial port.
const COM2: u16 = 0x2f8;

/// I/O port of the console; 0 while it has none, or none that is known.
static CONSOLE: AtomicU16 = AtomicU16::new(0);
/// I/O port of the second serial port; 0 while it is not this kernel's.
static OUTPUT: AtomicU16 = AtomicU16::new(0);
/// Bound on waiting for a line that nobody reads, in looks at the port: some seconds.
const PATIENCE: u32 = 10_000_000;

type Port = Uart16550<PioBackend>;

static PORTS: Mutex<Ports> =
    Mutex::new(Ports { console: None, output: None, typed: TypeAhead::new() });

struct Ports {
    console: Option<Port>,
    output: Option<Port>,
    typed: TypeAhead,
}

/// Says where the console is, for emergencies before the ports are opened.
pub fn use_console(port: Option<u16>) {
    // Relaxed: one processor.
    CONSOLE.store(port.unwrap_or(0), Ordering::Relaxed);
}

/// Opens the serial ports. `console` is where the starter says the console is; the second port is
/// opened only on request, for it may be another kernel's.
pub fn init(console: Option<u16>, with_output: bool) {
    use_console(console);
    let mut ports = PORTS.lock();
    ports.console = console.and_then(open);
    ports.output = if with_output { open(COM2) } else { None };
    let output = if ports.output.is_some() { COM2 } else { 0 };
    // Relaxed: one processor.
    OUTPUT.store(output, Ordering::Relaxed);
}

fn open(base: u16) -> Option<Port> {
    let mut port = new(base)?;
    let config = Config { baud_rate: BaudRate::Baud115200, ..Config::DEFAULT };
    port.init(config).ok().map(|()| port)
}

fn new(base: u16) -> Option<Port> {
    // SAFETY: the ports of a 16550 and of nothing else, if anything is there.
    unsafe { Uart16550::new_port(base) }.ok()
}

impl Ports {
    /// A byte that was typed, here or there.
    fn receive(&mut self) -> Option<u8> {
        let port = self.console.as_mut();
        port.and_then(|port| port.try_receive_byte().ok()).or_else(mailbox::read)
    }

    /// To the mailbox as it is, to the port with CR LF at line ends.
    fn write_console(&mut self, text: &[u8]) {
        mailbox::write(text);
        let Some(port) = &mut self.console else { return };
        for line in text.split_inclusive(|&b| b == b'\n') {
            match line.strip_suffix(b"\n") {
                Some(line) => {
                    port.send_bytes_exact(line);
                    port.send_bytes_exact(b"\r\n");
                }
                None => port.send_bytes_exact(line),
            }
        }
    }
}

/// Writes text to the console; line ends become CR LF.
pub fn write_console(text: &[u8]) {
    PORTS.lock().write_console(text);
}

/// Writes bytes to the second port as they are; to the console if there is none.
pub fn write_output(bytes: &[u8]) {
    let mut ports = PORTS.lock();
    match &mut ports.output {
        Some(port) => port.send_bytes_exact(bytes),
        None => ports.write_console(bytes),
    }
}

/// The next byte typed at the console, if there is one.
pub fn read_console() -> Option<u8> {
    let mut ports = PORTS.lock();
    let ports = &mut *ports;
    ports.typed.pop().or_else(|| ports.receive())
}

/// Whether an interrupt character was typed; what was typed besides is kept for [`read_console`].
pub fn interrupted() -> bool {
    let mut ports = PORTS.lock();
    let mut interrupted = false;
    while let Some(byte) = ports.receive() {
        interrupted |= ports.typed.push(byte);
    }
    interrupted
}

/// The console, without regard to who is using it: for reports from which there is no return.
pub fn emergency() -> impl fmt::Write {
    // A guard may be held by whatever failed; the port itself is always fit for another byte.
    // Relaxed: one processor.
    let console = Some(CONSOLE.load(Ordering::Relaxed)).filter(|&port| port != 0).and_then(new);
    Ports { console, output: None, typed: TypeAhead::new() }
}

/// Waits until everything written has left the ports: what is still in them when the machine ends
/// is lost. Takes no lock.
pub fn drain() {
    // Relaxed: one processor.
    for base in [CONSOLE.load(Ordering::Relaxed), OUTPUT.load(Ordering::Relaxed)] {
        if let Some(mut port) = Some(base).filter(|&base| base != 0).and_then(new) {
            // Where there is no port, all bits read as set.
            let _ = (0..PATIENCE).any(|_| port.lsr().contains(LSR::TRANSMITTER_EMPTY));
        }
    }
}

impl fmt::Write for Ports {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.write_console(text.as_bytes());
        Ok(())
    }
}

/// The console as a formatter's target.
pub struct Console;

impl fmt::Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        write_console(text.as_bytes());
        Ok(())
    }
}

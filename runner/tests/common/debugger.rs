//! A debugger's end of QEMU's debug server: stops a machine with one processor, looks, and lets it go on.
//!
//! The protocol is GDB's, packets `$TEXT#SUM` that are acknowledged with `+`.

use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

/// A machine. It runs until it is stopped, and can be looked into then.
pub struct Debugger {
    stream: UnixStream,
}

/// Registers, as numbers among those that the server tells.
#[derive(Clone, Copy, Debug)]
pub enum Register {
    Rdx = 3,
    Rsi = 4,
    Rdi = 5,
    /// The next instruction.
    Rip = 16,
}

impl Debugger {
    /// What QEMU has to be told to connect to a listener at `path`.
    pub fn options(path: &Path) -> [(&'static str, String); 2] {
        [
            ("-chardev", format!("socket,id=debugger,path={}", path.display())),
            ("-gdb", "chardev:debugger".to_owned()),
        ]
    }

    /// Waits for QEMU.
    pub fn accept(listener: &UnixListener) -> io::Result<Self> {
        Ok(Self { stream: listener.accept()?.0 })
    }

    fn byte(&mut self) -> io::Result<u8> {
        let mut byte = [0];
        self.stream.read_exact(&mut byte)?;
        Ok(byte[0])
    }

    fn send(&mut self, text: &str) -> io::Result<()> {
        let sum = text.bytes().fold(0_u8, u8::wrapping_add);
        self.stream.write_all(format!("${text}#{sum:02x}").as_bytes())
    }

    fn receive(&mut self) -> io::Result<String> {
        while self.byte()? != b'$' {}
        let mut text = String::new();
        loop {
            match self.byte()? {
                b'#' => break,
                byte => text.push(char::from(byte)),
            }
        }
        self.stream.read_exact(&mut [0; 2])?;
        self.stream.write_all(b"+")?;
        Ok(text)
    }

    fn ask(&mut self, text: &str) -> io::Result<String> {
        self.send(text)?;
        self.receive()
    }

    /// Says what has to be answered with `OK`.
    fn tell(&mut self, text: &str) -> io::Result<()> {
        match self.ask(text)?.as_str() {
            "OK" => Ok(()),
            answer => Err(io::Error::other(format!("{text}: {answer:?}"))),
        }
    }

    /// Waits until the machine stops.
    pub fn wait(&mut self) -> io::Result<()> {
        while !self.receive()?.starts_with(['T', 'S']) {}
        Ok(())
    }

    /// Lets it go.
    pub fn go(&mut self) -> io::Result<()> {
        self.send("c")
    }

    /// Stops it.
    pub fn stop(&mut self) -> io::Result<()> {
        self.stream.write_all(&[3])?;
        self.wait()
    }

    /// Has it execute one instruction.
    pub fn step(&mut self) -> io::Result<()> {
        self.send("s")?;
        self.wait()
    }

    /// Has it stop before the instruction at an address, or not any more.
    pub fn stop_at(&mut self, address: u64, stop: bool) -> io::Result<()> {
        self.tell(&format!("{},{address:x},1", if stop { "Z0" } else { "z0" }))
    }

    /// A register.
    pub fn register(&mut self, register: Register) -> io::Result<u64> {
        let all = bytes(&self.ask("g")?);
        let from = register as usize * 8;
        let word = all.get(from..from + 8).and_then(|word| word.try_into().ok());
        word.map(u64::from_le_bytes).ok_or_else(|| io::Error::other("no such register"))
    }

    /// Memory, at an address that the processor uses; nothing if there is none.
    pub fn memory(&mut self, address: u64, len: usize) -> io::Result<Vec<u8>> {
        Ok(bytes(&self.ask(&format!("m{address:x},{len:x}"))?))
    }

    /// What QEMU's monitor says to a command.
    pub fn monitor(&mut self, command: &str) -> io::Result<String> {
        let hex: String = command.bytes().map(|byte| format!("{byte:02x}")).collect();
        self.send(&format!("qRcmd,{hex}"))?;
        let mut said = Vec::new();
        loop {
            let answer = self.receive()?;
            match answer.strip_prefix('O') {
                Some("K") => return Ok(String::from_utf8_lossy(&said).into_owned()),
                Some(more) => said.extend(bytes(more)),
                None => return Err(io::Error::other(format!("{command}: {answer:?}"))),
            }
        }
    }
}

/// Bytes of hexadecimal digits, up to what are none.
fn bytes(digits: &str) -> Vec<u8> {
    let pairs = digits.as_bytes().chunks_exact(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    pairs.map_while(byte).collect()
}

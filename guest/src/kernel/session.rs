//! Mounting the image, and the shell on it.

use super::arch::serial;
use super::machine::Machine;
use super::platform::BareMetal;
use super::{heartbeat, mailbox, memory, say};
use daxfs::format::mailbox::{ANSWER, ASK, END, Progress};
use daxfs::{Access, Error, Geometry, Mount, MountOptions, RegionOffset, Span};
use daxfs_guest::console::{Event, LineEditor};
use daxfs_guest::handover::Request;
use daxfs_guest::shell::{Flow, Shell};
use x86_64::instructions::interrupts;

/// Exit status if the image cannot be mounted, as mount(8) has it.
const MOUNT_FAILED: u8 = 32;

/// Mounts what the starter asked for and runs its script, or a shell at the console. Returns the
/// exit status.
pub fn run(request: &Request<'_>) -> u8 {
    let mount = match mount(request) {
        Ok(mount) => mount,
        Err(error) => {
            say(format_args!("mount: {error} ({})", error.errno().name()));
            return MOUNT_FAILED;
        }
    };
    heartbeat::set(mount.heartbeat());
    mailbox::set_progress(Progress::Mounted);
    let mut machine = Machine { shared: request.shared };
    let mut shell = Shell::new(&mount, &mut machine);
    let status = match request.script {
        Some(script) => shell.run_script(script),
        None => interact(&mut shell),
    };
    heartbeat::set(None);
    if let Err(error) = mount.unmount() {
        say(format_args!("unmount: {error} ({})", error.errno().name()));
    }
    status
}

/// Mounts the image. Stores into the base image fault from then on, and all stores do where nothing
/// ever changes.
fn mount(request: &Request<'_>) -> daxfs::Result<Mount<BareMetal>> {
    let region = memory::shared_region().ok_or(Error::NoMemory)?;
    let geometry = Geometry::read(&region)?;
    let mut options = request.mount;
    // A guest writes unless told otherwise; to an image that cannot be written to, only on demand.
    if !request.write_demanded && geometry.branch_slots == 0 {
        options = MountOptions { access: Access::ReadOnly, branch: None, keep: false, ..options };
    }
    // A mount that only looks writes too, where others may write: that it is there, and how far it
    // has looked.
    if geometry.branch_slots > 0 {
        let base = geometry.base;
        let before = Span { start: RegionOffset::new(0), len: base.start.get() };
        let behind = Span {
            start: RegionOffset::new(base.end()),
            len: geometry.total_size.saturating_sub(base.end()),
        };
        for span in [before, behind] {
            memory::protect_shared(span, true).map_err(|_| Error::NoMemory)?;
        }
    }
    Mount::new(BareMetal, region, &options)
}

/// The shell at the console. Returns the exit status.
fn interact(shell: &mut Shell<'_, BareMetal, Machine>) -> u8 {
    shell.banner();
    let mut editor = LineEditor::default();
    loop {
        shell.prompt();
        // Whether a program asks. It reads from the answer on: the echo is for whoever looks on.
        let mut asked = false;
        loop {
            let byte = wait_for_byte(shell, asked);
            if byte == ASK {
                editor = LineEditor::default();
                asked = true;
                continue;
            }
            match editor.feed(byte, &mut |text| serial::write_console(text)) {
                Event::None => {}
                Event::Abandoned => break,
                Event::Line(line) => {
                    let flow = if asked { answer(shell, line) } else { shell.run_line(line) };
                    match flow {
                        Flow::Continue => break,
                        Flow::Halt(status) => return status,
                    }
                }
            }
        }
    }
}

/// Runs a line for a program, which is told where its output begins and ends.
fn answer(shell: &mut Shell<'_, BareMetal, Machine>, line: &[u8]) -> Flow {
    serial::write_console(&[ANSWER]);
    let flow = shell.run_line(line);
    let status = match flow {
        Flow::Continue => shell.status(),
        Flow::Halt(status) => status,
    };
    serial::write_console(END);
    say(format_args!("{status}"));
    flow
}

/// The next byte from the console. The processor sleeps until the next tick of the timer if there
/// is none; it goes on asking where there is no timer, and within a line that a program types: that
/// one does not take its time.
fn wait_for_byte(shell: &Shell<'_, BareMetal, Machine>, soon: bool) -> u8 {
    loop {
        if let Some(byte) = serial::read_console() {
            return byte;
        }
        shell.tick();
        if interrupts::are_enabled() && !soon {
            x86_64::instructions::hlt();
        } else {
            core::hint::spin_loop();
        }
    }
}

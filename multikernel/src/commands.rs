//! What the commands do.

use crate::args::{self, Arguments, Command, Patience};
use crate::console::{Mailbox, Pause, Until, connect, exit_status};
use crate::device::{Device, processor};
use crate::error::{Error, Result};
use crate::load::Loaded;
use crate::record::{Lock, Record};
use crate::{members, processors};
use daxfs_format::mailbox::{ANSWER, ASK, END, Progress};
use daxfs_format::multikernel::Place;
use serde::Serialize;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};
use std::{fs, thread};

/// How long a kernel is watched for a tick of its timer.
const WATCH: Duration = Duration::from_millis(100);

/// Between two looks whether somebody else still talks to a kernel.
const TURN: Duration = Duration::from_millis(10);

/// Does what the arguments say. Returns the exit status.
pub(crate) fn run(arguments: Arguments) -> Result<u8> {
    let device = Device::open()?;
    match arguments.command {
        Command::Load(wanted) => load(&device, &wanted).map(|()| 0),
        Command::Start(wanted) => {
            let _lock = Lock::on_place(wanted.place)?;
            if wanted.offline {
                processors::offline(wanted.cpu)?;
            }
            start(&device, wanted.place, wanted.cpu, &wanted.patience).map(|()| 0)
        }
        Command::Stop(wanted) => stop_some(&device, &wanted).map(|()| 0),
        Command::Restart(wanted) => {
            let _lock = Lock::on_place(wanted.place)?;
            let place = device.query(wanted.place)?;
            let cpu = processor(&place).ok_or(Error::NotRunning(wanted.place))?;
            stop(&device, &place, true)?;
            start(&device, wanted.place, cpu, &wanted.patience).map(|()| 0)
        }
        Command::Status { place, json } => status(&device, place, json).map(|()| 0),
        Command::Console(wanted) => console(&device, &wanted),
        Command::Run(wanted) => run_in(&device, &wanted),
    }
}

/// Puts a kernel into a place, and remembers what it was.
fn load(device: &Device, wanted: &args::Load) -> Result<()> {
    let _lock = Lock::on_place(wanted.place)?;
    let place = device.query(wanted.place)?;
    let script = match (&wanted.exec, &wanted.script) {
        (Some(commands), _) => commands.clone(),
        (None, Some(path)) => fs::read_to_string(path).map_err(Error::file(path, "read"))?,
        (None, None) => String::new(),
    };
    let kernel = Path::new(&wanted.kernel);
    let kernel = fs::canonicalize(kernel).map_err(Error::file(kernel, "read"))?;
    let options = wanted.options.clone();
    let (uart, identity, shared) = (wanted.uart, identity(), (0, 0));
    let mut record = Record { kernel, options, shared, script, uart, identity };
    // It is loaded again when it is started, which may be later: this is to tell what is wrong now.
    record.shared = Loaded::new(device, &place, &record)?.shared();
    record.write(wanted.place)
}

/// A number that no other kernel has.
fn identity() -> u64 {
    RandomState::new().hash_one(std::process::id()).max(1)
}

/// Starts the kernel that was loaded, and waits for it.
fn start(device: &Device, index: u32, cpu: u32, patience: &Patience) -> Result<()> {
    let mut record = Record::read(index)?.ok_or(Error::Empty(index))?;
    // Of two starts in a row, the second must not be taken for the first.
    record.identity = identity();
    record.write(index)?;
    let place = device.query(index)?;
    let loaded = Loaded::new(device, &place, &record)?;
    let mailbox = Mailbox::open(device, &place)?;
    let since = Instant::now();
    loaded.start(device, cpu)?;
    let mut timing = Timing { started: milliseconds(since), ..Timing::default() };
    if !patience.no_wait {
        let says = record.script.is_empty();
        wait(&mailbox, since, Duration::from_secs(patience.timeout), says, &mut timing)?;
    }
    if patience.timing {
        print_json(&timing)?;
    }
    Ok(())
}

/// How long it took, in milliseconds, since the ioctl began.
#[derive(Clone, Copy, Default, Debug, Serialize)]
struct Timing {
    /// Until the ioctl was done.
    started: f64,
    /// Until the kernel's first sign of life.
    running: Option<f64>,
    /// Until the first byte on its console.
    first_output: Option<f64>,
    /// Until it had mounted the range.
    mounted: Option<f64>,
}

fn milliseconds(since: Instant) -> f64 {
    (since.elapsed().as_secs_f64() * 1e6).round() / 1e3
}

/// Waits until a kernel has mounted the range and, if it `says` so at its console, has done that.
fn wait(
    mailbox: &Mailbox,
    since: Instant,
    limit: Duration,
    says: bool,
    timing: &mut Timing,
) -> Result<()> {
    let mut pause = Pause::new();
    loop {
        let progress = mailbox.progress()?;
        if progress != Progress::Loaded {
            timing.running.get_or_insert_with(|| milliseconds(since));
        }
        let printed = mailbox.printed()? > 0;
        if printed {
            timing.first_output.get_or_insert_with(|| milliseconds(since));
        }
        match progress {
            Progress::Mounted => {
                timing.mounted.get_or_insert_with(|| milliseconds(since));
                if printed || !says {
                    return Ok(());
                }
            }
            // A script may be done before anybody looks.
            Progress::Ended(status) if exit_status(status) == 0 => return Ok(()),
            Progress::Ended(status) => return Err(Error::Ended(format!("{status:?}"))),
            Progress::Loaded | Progress::Running => {}
        }
        if since.elapsed() > limit {
            return Err(Error::TimedOut { what: "the kernel's mount", limit });
        }
        pause.sleep(false);
    }
}

fn stop_some(device: &Device, wanted: &args::Stop) -> Result<()> {
    let places = if wanted.all { device.places()? } else { vec![device.query(wanted.place)?] };
    for place in places {
        let index = place.index.get();
        let _lock = Lock::on_place(index)?;
        // As it is now that nobody else changes it.
        let place = device.query(index)?;
        stop(device, &place, !wanted.no_reap)?;
        if wanted.online
            && let Some(cpu) = processor(&place)
        {
            processors::online(cpu)?;
        }
    }
    Ok(())
}

/// Stops the kernel of a place; if `reap`, tells the other kernels.
fn stop(device: &Device, place: &Place, reap: bool) -> Result<()> {
    let index = place.index.get();
    device.stop(index)?;
    // Also where it was stopped before: that may not have been told.
    if reap
        && place.starts.get() > 0
        && let Some(record) = Record::read(index)?
    {
        let told = members::reap(record.shared, place.kernel.get());
        told.map_err(|error| Error::Reap(Box::new(error)))?;
    }
    Ok(())
}

/// What is in a place.
#[derive(Debug, Serialize)]
struct Status {
    place: u32,
    phys: u64,
    size: u64,
    cpu: Option<u32>,
    /// `empty`, `loaded`, `stopped`, `running`, `mounted`, `ended` or `unknown`.
    state: &'static str,
    /// Of a kernel that has ended.
    status: Option<u8>,
    /// Whether its timer has ticked lately.
    ticking: bool,
    ticks: u64,
    starts: u64,
    kernel: u64,
    options: Option<String>,
}

fn status(device: &Device, only: Option<u32>, json: bool) -> Result<()> {
    let places = match only {
        Some(index) => vec![device.query(index)?],
        None => device.places()?,
    };
    let mailboxes: Result<Vec<_>> =
        places.iter().map(|place| Mailbox::open(device, place)).collect();
    let mailboxes = mailboxes?;
    let ticks = || mailboxes.iter().map(Mailbox::ticks).collect::<Result<Vec<_>>>();
    let before = ticks()?;
    thread::sleep(WATCH);
    let mut all = Vec::new();
    for (((place, mailbox), before), now) in places.iter().zip(&mailboxes).zip(before).zip(ticks()?)
    {
        let index = place.index.get();
        let record = Record::read(index)?;
        let progress = if mailbox.exists() { mailbox.progress().ok() } else { None };
        let cpu = processor(place);
        let (state, status) = match (progress, cpu) {
            (Some(Progress::Loaded), _) => ("loaded", None),
            (Some(Progress::Ended(status)), _) => ("ended", Some(exit_status(status))),
            (Some(_), None) => ("stopped", None),
            (Some(Progress::Running), Some(_)) => ("running", None),
            (Some(Progress::Mounted), Some(_)) => ("mounted", None),
            (None, None) if record.is_none() => ("empty", None),
            (None, _) => ("unknown", None),
        };
        all.push(Status {
            place: index,
            phys: place.phys.get(),
            size: place.size.get(),
            cpu,
            state,
            status,
            ticking: cpu.is_some() && now != before,
            ticks: now,
            starts: place.starts.get(),
            kernel: place.kernel.get(),
            options: record.map(|record| record.options),
        });
    }
    if json {
        return print_json(&all);
    }
    let mut text = String::new();
    for status in &all {
        text.push_str(&line(status));
    }
    written(io::stdout().write_all(text.as_bytes()))
}

fn line(status: &Status) -> String {
    let Status { place, phys, size, starts, .. } = status;
    let mut line = format!("place {place}: {} MiB at {phys:#x}: {}", size >> 20, status.state);
    if let Some(status) = status.status {
        line.push_str(&format!(" with status {status}"));
    }
    if let Some(cpu) = status.cpu {
        let silent = if status.ticking || status.status.is_some() { "" } else { ", silent" };
        line.push_str(&format!(", processor {cpu}{silent}"));
    }
    if *starts > 0 {
        line.push_str(&format!(", started {starts} times"));
    }
    if let Some(options) = &status.options {
        line.push_str(&format!(" ({options})"));
    }
    line.push('\n');
    line
}

fn console(device: &Device, wanted: &args::Console) -> Result<u8> {
    let _lock = Lock::on_console(wanted.place)?;
    let mailbox = Mailbox::open(device, &device.query(wanted.place)?)?;
    let limit = wanted.timeout.map(Duration::from_secs);
    let until = Until {
        text: wanted.until.as_deref().map(str::as_bytes),
        so_far: wanted.so_far,
        deadline: limit.map(|limit| (Instant::now() + limit, limit)),
    };
    let status = connect(&mut mailbox.console()?, &until)?;
    Ok(if wanted.so_far { 0 } else { status })
}

/// Has the shell of a kernel run commands.
fn run_in(device: &Device, wanted: &args::Run) -> Result<u8> {
    let limit = Duration::from_secs(wanted.timeout);
    let since = Instant::now();
    // Programs that ask take turns.
    let _lock = loop {
        match Lock::on_console(wanted.place) {
            Err(Error::Busy(_)) if since.elapsed() < limit => thread::sleep(TURN),
            lock => break lock?,
        }
    };
    let place = device.query(wanted.place)?;
    processor(&place).ok_or(Error::NotRunning(wanted.place))?;
    let mailbox = Mailbox::open(device, &place)?;
    let mut console = mailbox.console()?;
    console.take()?;
    let line = wanted.commands.trim().replace('\n', ";");
    let question = [&[ASK], line.as_bytes(), b"\r"].concat();
    let mut question = &question[..];
    let (mut pause, mut answer) = (Pause::new(), Answer::default());
    let mut stdout = io::stdout();
    loop {
        let put = console.put(question)?;
        question = &question[put..];
        let ended = console.ended()?;
        let printed = console.take()?;
        let status = answer.feed(&printed);
        written(stdout.write_all(&answer.text).and_then(|()| stdout.flush()))?;
        answer.text.clear();
        if let Some(status) = status {
            return Ok(status);
        }
        if printed.is_empty() {
            if let Some(status) = ended {
                return Ok(status);
            }
            // It may be stopped meanwhile.
            processor(&device.query(wanted.place)?).ok_or(Error::NotRunning(wanted.place))?;
        }
        if since.elapsed() > limit {
            return Err(Error::TimedOut { what: "the commands' end", limit });
        }
        pause.sleep(!printed.is_empty());
    }
}

/// Finds the answer to a question in what a kernel prints.
#[derive(Default)]
struct Answer {
    /// Whether the answer has begun.
    begun: bool,
    /// What may be the beginning of its end.
    held: Vec<u8>,
    /// What is printed.
    text: Vec<u8>,
}

impl Answer {
    /// Takes what was printed; returns the status, once it is there.
    fn feed(&mut self, printed: &[u8]) -> Option<u8> {
        for &byte in printed {
            if !self.begun {
                self.begun = byte == ANSWER;
                continue;
            }
            self.held.push(byte);
            let (mark, rest) = self.held.split_at(self.held.len().min(END.len()));
            if !END.starts_with(mark) {
                // None but the first byte of the mark is a beginning of it.
                let last = self.held.pop().unwrap_or(byte);
                self.text.append(&mut self.held);
                if END.first() == Some(&last) {
                    self.held.push(last);
                } else {
                    self.text.push(last);
                }
            } else if let Some(digits) = rest.strip_suffix(b"\n") {
                let digits = std::str::from_utf8(digits).unwrap_or_default();
                return Some(digits.trim_end_matches('\r').parse().unwrap_or(u8::MAX));
            }
        }
        None
    }
}

fn print_json(document: &impl Serialize) -> Result<()> {
    let mut stdout = io::stdout();
    let text = serde_json::to_string(document).map_err(io::Error::other);
    written(text.and_then(|text| writeln!(stdout, "{text}")))
}

fn written(result: io::Result<()>) -> Result<()> {
    result.map_err(|reason| Error::System { action: "write the output", reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text and the status, whatever the pieces.
    fn answer(printed: &[u8], piece: usize) -> (Vec<u8>, Option<u8>) {
        let mut answer = Answer::default();
        let status = printed.chunks(piece).find_map(|piece| answer.feed(piece));
        (answer.text, status)
    }

    #[test]
    fn an_answer_is_found_between_what_else_is_printed() {
        let printed = b"daxfs:guest:/$ \x02out\n\x03put\x03\x03end\n\x03status 127\ndaxfs:";
        for piece in 1..printed.len() {
            let expected = (b"out\n\x03put\x03\x03end\n".to_vec(), Some(127));
            assert_eq!(answer(printed, piece), expected, "{piece}");
        }
    }

    #[test]
    fn an_answer_without_an_end_is_none() {
        assert_eq!(answer(b"prompt$ \x02out\x03sta", 3), (b"out".to_vec(), None));
        assert_eq!(answer(b"\x03status 0\n", 3), (vec![], None));
    }
}

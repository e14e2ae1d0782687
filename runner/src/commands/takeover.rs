//! `runner takeover`: a kernel saves checkpoints and is killed; the next one goes on from the last.

use super::Prepared;
use crate::console;
use crate::error::{Error, Result};
use crate::guest::Run;
use crate::image::Image;
use crate::memory::SharedMemory;
use crate::multikernel::{checkpoint, outside};
use crate::qemu::{AccelChoice, Ended, Signals};
use crate::setup::Report;
use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader};
use std::thread;
use std::time::{Duration, Instant};

/// The branch the checkpoints are on. It outlives the kernel that owns it.
const BRANCH: &str = "ckpt";
/// Bytes of the range: little, so that space that is lost is missed.
const SIZE: u64 = 16 << 20;
/// How many checkpoints a kernel would save if nobody killed it.
const MOST: u64 = 2000;
/// Checkpoints that are waited for at most before the kill.
const PATIENCE: u64 = 12;
/// What the kernel prints when it has shown the checkpoint it found.
const SHOWN: &str = "shown";
/// How long a kernel may take to get as far as it has to.
const LIMIT: Duration = Duration::from_secs(300);

/// What the user wants.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many kernels are killed.
    pub rounds: u32,
    /// What executes instructions.
    pub accel: AccelChoice,
    /// Whether QEMU's command line is shown.
    pub verbose: bool,
}

/// Does it.
///
/// # Errors
///
/// [`Error::Story`] if a checkpoint is lost or damaged, and what a run can end with.
pub fn run(options: &Options, report: &dyn Report) -> Result<()> {
    let prepared = Prepared::new(options.accel, report)?;
    let signals = Signals::catch()?;
    let memory = SharedMemory::copy_of(Image::demo(SIZE)?.path(), None)?;
    let mounting = format!("rw,branch={BRANCH},keep");
    let run = Run {
        qemu: &prepared.qemu,
        accel: prepared.accel,
        guest: &prepared.guest,
        memory: &memory,
        options: &mounting,
        own_mib: 64,
        timeout: Some(LIMIT),
        verbose: options.verbose,
        quiet: true,
    };
    let start = Instant::now();
    // The last checkpoint that is known to be there; 0 before the first.
    let (mut last, mut bytes) = (0, 0);
    for round in 1..=options.rounds {
        let said = kill_one(&run, last, &signals)?;
        // Its process has ended: nobody writes to the range any more.
        outside::reap_all(&memory)?;
        let found = outside::read(&memory, BRANCH, checkpoint::PATH)?;
        // It says that a checkpoint is saved after it is.
        let number = (said..=said + 1)
            .find(|&number| found == (number > 0).then(|| checkpoint::content(number)))
            .ok_or_else(|| {
                Error::Story(format!(
                    "round {round}: checkpoint {said} was saved, but neither it nor the next one is there, whole"
                ))
            })?;
        bytes += found.map_or(0, |content| content.len());
        console::right(format_args!(
            "round {round}: killed after checkpoint {said}; checkpoint {number} is there, whole"
        ));
        last = number;
    }
    anstream::println!(
        "{} kernels killed, {last} checkpoints saved, {bytes} bytes verified, 0 lost, {:.1} s",
        options.rounds,
        start.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Starts a kernel, which has to find checkpoint `last`, and kills it while it saves others. Returns the
/// last one that it said it had saved.
fn kill_one(run: &Run<'_>, last: u64, signals: &Signals) -> Result<u64> {
    let mut script = String::new();
    if last > 0 {
        script.push_str(&format!("cat {}\n", checkpoint::PATH));
    }
    script.push_str(&format!("echo {SHOWN}\n"));
    script.extend((last + 1..last + MOST).map(checkpoint::commands));
    let (mut process, _script) = run.start(&script)?;
    let killer = process.killer()?;
    let stdout = process.take_stdout();
    let (ended, said) = thread::scope(|scope| {
        let reader = scope.spawn(move || {
            let mut from = BufReader::new(stdout?);
            let said = watch(&mut from, last, || killer.kill());
            // Whatever it was: nothing is left to be waited for.
            killer.kill();
            said
        });
        let ended = process.wait(signals, run.timeout);
        (ended, reader.join().ok().flatten())
    });
    match ended? {
        Ended::TimedOut => Err(Error::Timeout { limit: LIMIT, last: Vec::new() }),
        Ended::Signal(signal) => Err(Error::Interrupted { signal }),
        Ended::Left(status) => said.ok_or_else(|| {
            Error::Story(format!(
                "a kernel that was to find checkpoint {last} did not show it, or stopped ({status})"
            ))
        }),
    }
}

/// Reads what a kernel prints; calls `kill` at a moment nobody knows before. Nothing if it does not show
/// what it has to.
fn watch(from: &mut impl BufRead, last: u64, kill: impl FnOnce()) -> Option<u64> {
    if last > 0 {
        let expected = checkpoint::content(last);
        let mut shown = vec![0; expected.len()];
        from.read_exact(&mut shown).ok()?;
        if shown != expected {
            return None;
        }
    }
    let mut line = String::new();
    from.read_line(&mut line).ok()?;
    if line.trim_end() != SHOWN {
        return None;
    }
    let chance = RandomState::new().hash_one(last);
    let (mut said, enough) = (last, last + chance % PATIENCE);
    while said < enough {
        said = next(from, said)?;
    }
    thread::sleep(Duration::from_micros((chance >> 32) % 30_000));
    kill();
    // What it had said until then.
    while let Some(number) = next(from, said) {
        said = number;
    }
    Some(said)
}

/// The number in the next line, if it is the one after `said` and complete.
fn next(from: &mut impl BufRead, said: u64) -> Option<u64> {
    let mut line = String::new();
    from.read_line(&mut line).ok()?;
    let number = line.strip_suffix('\n')?.trim_end().parse().ok()?;
    (number == said + 1).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_shows_another_checkpoint_is_noticed() {
        let mut output = checkpoint::content(4);
        output.extend(b"shown\n");
        assert_eq!(watch(&mut &output[..], 5, || ()), None);
    }

    #[test]
    fn half_a_number_says_nothing() {
        let mut output = checkpoint::content(9);
        output.extend(b"shown\n");
        output.extend((10..40).flat_map(|number| format!("{number}\n").into_bytes()));
        output.extend(b"4");
        assert_eq!(watch(&mut &output[..], 9, || ()), Some(39));
    }
}

//! `runner takeover`: a kernel saves checkpoints and is killed; the next one goes on from the last.

use super::kernels::Kernels;
use crate::console;
use crate::error::{Bytes, Error, Result};
use crate::image::Image;
use crate::memory::SharedMemory;
use crate::multikernel::checkpoint::{self, Checkpoint};
use crate::multikernel::host::{Host, LIMIT};
use crate::multikernel::kernel::Kind;
use crate::multikernel::outside;
use crate::qemu::AccelChoice;
use crate::setup::Report;
use fastrand::Rng;
use std::thread;
use std::time::{Duration, Instant};

/// The branch the checkpoints are on. It outlives the kernel that owns it.
const BRANCH: &str = "ckpt";
/// The branch on which a kernel waits that is to take over.
const STANDBY: &str = "standby";
/// Bytes of the range: little, so that space that is lost is missed.
const SIZE: u64 = 24 << 20;
/// Checkpoints that a kernel is asked for at once.
const BATCH: u64 = 8;

/// What the user wants.
#[derive(Clone, Debug)]
pub struct Options {
    /// The kernels, one after another; behind the last comes the first again.
    pub kernels: Vec<Kind>,
    /// How many kernels are killed.
    pub rounds: u32,
    /// Whether the next kernel runs already when one is killed.
    pub standby: bool,
    /// What executes instructions.
    pub accel: AccelChoice,
    /// Whether QEMU's command line and Linux's log is shown.
    pub verbose: bool,
}

/// Does it.
///
/// # Errors
///
/// [`Error::Story`] if a checkpoint is lost or damaged, and what a kernel can end with.
pub fn run(options: &Options, report: &dyn Report) -> Result<()> {
    let kernels = Kernels::new(&options.kernels, options.accel, options.verbose, report)?;
    let memory = SharedMemory::copy_of(Image::demo(SIZE)?.path(), None)?;
    let relay = Relay { kernels: &kernels, memory: &memory, kinds: &options.kernels };
    let mut random = Rng::new();
    let start = Instant::now();
    let (mut last, mut bytes, mut middle) = (None, 0, 0);
    let mut host = relay.start(0, BRANCH)?;
    host.mount(&relay.options(0, BRANCH))?;
    for round in 1..=options.rounds {
        let mut next = match options.standby {
            true => Some(relay.standby(round)?),
            false => None,
        };
        let (name, kind) = (host.name().to_owned(), host.kind());
        let said = save_until_killed(&mut host, last, &mut random)?;
        host.into_kernel().kill()?;
        // That is certain now; and nobody else is touched.
        outside::confirm(&memory, &name)?;
        let found = outside::read(&memory, BRANCH, checkpoint::NAME)?;
        let unfinished = outside::read(&memory, BRANCH, checkpoint::NEXT)?.is_some();
        let saved = identify(found.as_deref(), said, kind).ok_or_else(|| {
            let of = said.map_or("none".into(), |said| said.number.to_string());
            Error::Story(format!(
                "{name} had saved checkpoint {of}; what is there now is neither that one nor one of the \
                 next {BATCH}, whole"
            ))
        })?;
        host = match next.take() {
            Some(mut next) => {
                next.must(&[next.switch(BRANCH)])?;
                next
            }
            None => {
                let mut next = relay.start(round, BRANCH)?;
                next.mount(&relay.options(round, BRANCH))?;
                next
            }
        };
        let in_the_middle = unfinished || saved != said;
        middle += u32::from(in_the_middle);
        bytes += tell(round, &name, in_the_middle, saved, &mut host)?;
        last = saved;
    }
    host.into_kernel().finish(LIMIT)?;
    anstream::println!(
        "{} kernels killed, {middle} of them while they saved; {} checkpoints saved, {} verified from outside \
         and again by the next kernel, 0 lost, {:.1} s",
        options.rounds,
        last.map_or(0, |last| last.number),
        Bytes(bytes),
        start.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Who takes over from whom.
struct Relay<'a> {
    kernels: &'a Kernels,
    memory: &'a SharedMemory,
    kinds: &'a [Kind],
}

impl Relay<'_> {
    fn kind(&self, turn: u32) -> Kind {
        self.kinds[turn as usize % self.kinds.len()]
    }

    fn name(&self, turn: u32) -> String {
        format!("{}{turn}", self.kind(turn))
    }

    /// What the kernel whose turn it is mounts with. The branch stays when its kernel dies.
    fn options(&self, turn: u32, branch: &str) -> String {
        format!("rw,branch={branch},parent=main,keep,name={}", self.name(turn))
    }

    fn start(&self, turn: u32, branch: &str) -> Result<Host> {
        let options = self.options(turn, branch);
        self.kernels.start(self.kind(turn), &self.name(turn), self.memory, &options)
    }

    /// A kernel that waits for its turn.
    fn standby(&self, turn: u32) -> Result<Host> {
        let mut host = self.start(turn, STANDBY)?;
        host.mount(&self.options(turn, STANDBY))?;
        Ok(host)
    }
}

/// Has a kernel save checkpoints, and kills it at a moment that nobody knows before. Returns the last one
/// that it said it had saved.
fn save_until_killed(
    host: &mut Host,
    last: Option<Checkpoint>,
    random: &mut Rng,
) -> Result<Option<Checkpoint>> {
    let killer = host.killer()?;
    let most = match host.kind() {
        Kind::Guest => 300_000,
        Kind::Linux => 1_500_000,
    };
    let alive = Duration::from_micros(random.u64(..most));
    thread::scope(|scope| {
        scope.spawn(move || {
            thread::sleep(alive);
            killer.kill();
        });
        let mut said = last;
        loop {
            let (from, kind) = (said.map_or(0, |said| said.number), host.kind());
            let batch = (from + 1..=from + BATCH).map(|number| Checkpoint { number, kind });
            let commands: Vec<String> =
                batch.flat_map(|next| next.commands(host.directory())).collect();
            match host.ask(&commands)? {
                None => return Ok(said),
                Some(answer) if answer.status == 0 => {
                    said = Some(Checkpoint { number: from + BATCH, kind });
                }
                Some(answer) => {
                    let text = answer.text();
                    return Err(Error::Story(format!("{} cannot save: {text}", host.name())));
                }
            }
        }
    })
}

/// Which checkpoint was found: the last one that was said to be saved, or one of those that were being saved
/// after it. Nothing if it is none of them.
fn identify(
    found: Option<&[u8]>,
    said: Option<Checkpoint>,
    kind: Kind,
) -> Option<Option<Checkpoint>> {
    let from = said.map_or(0, |said| said.number);
    let next = (from + 1..=from + BATCH).map(|number| Some(Checkpoint { number, kind }));
    std::iter::once(said)
        .chain(next)
        .find(|checkpoint| found == checkpoint.map(|saved| saved.content().bytes()).as_deref())
}

/// The next kernel shows what it has found. Returns how many bytes that are.
fn tell(
    round: u32,
    killed: &str,
    in_the_middle: bool,
    saved: Option<Checkpoint>,
    next: &mut Host,
) -> Result<u64> {
    let name = next.name().to_owned();
    let Some(saved) = saved else {
        console::right(format_args!("round {round}: {killed} killed before the first checkpoint"));
        return Ok(0);
    };
    let sum = next.must(&[format!("sha256sum {}{}", next.directory(), checkpoint::NAME)])?;
    if !sum.starts_with(saved.content().sha256().as_bytes()) {
        let number = saved.number;
        return Err(Error::Story(format!(
            "{name} does not find checkpoint {number} as it was saved"
        )));
    }
    let bytes = saved.content().length() as u64;
    console::right(format_args!(
        "round {round}: {killed} killed{}; {name} finds checkpoint {}, whole ({})",
        if in_the_middle { " while it saves" } else { "" },
        saved.number,
        Bytes(bytes)
    ));
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_that_is_older_damaged_or_missing_is_noticed() {
        let kind = Kind::Guest;
        let of = |number| Checkpoint { number, kind };
        let said = Some(of(8));
        let identified = |found: Option<&[u8]>| identify(found, said, kind);
        for number in 8..=8 + BATCH {
            assert_eq!(identified(Some(&of(number).content().bytes())), Some(Some(of(number))));
        }
        let mut damaged = of(9).content().bytes();
        damaged[4000] ^= 1;
        let cut = &of(9).content().bytes()[..4000];
        for wrong in
            [Some(&of(7).content().bytes()[..]), Some(&damaged), Some(cut), Some(&[]), None]
        {
            assert_eq!(identified(wrong), None);
        }
        assert_eq!(identify(None, None, kind), Some(None), "nothing was saved yet");
    }
}

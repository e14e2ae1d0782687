//! `runner pool`: machines that share memory, as hosts on a CXL pool do; one after another is killed while it
//! works, and the others carry on.

use super::kernels::Kernels;
use crate::console;
use crate::error::{Bytes, Error, Result};
use crate::image::Image;
use crate::memory::SharedMemory;
use crate::multikernel::files::Files;
use crate::multikernel::host::{Host, LIMIT};
use crate::multikernel::kernel::Kind;
use crate::multikernel::outside;
use crate::qemu::AccelChoice;
use crate::setup::Report;
use daxfs::{BranchId, BranchName};
use fastrand::Rng;
use std::fmt::Display;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Changes that a host is asked for at once.
const BATCH: usize = 12;
/// One death in so many is confirmed only after the others have noticed it, and gone on without.
const NOTICED: u32 = 3;
/// One host in so many is killed when it commits.
const COMMITTING: u32 = 4;
/// How often is looked whether something has happened.
const GLANCE: Duration = Duration::from_millis(20);

/// What the user wants.
#[derive(Clone, Debug)]
pub struct Options {
    /// The hosts' kernels: two at least.
    pub kernels: Vec<Kind>,
    /// How many hosts are killed.
    pub rounds: u32,
    /// Bytes of the range.
    pub size: u64,
    /// What executes instructions.
    pub accel: AccelChoice,
    /// Whether QEMU's command line and Linux's log is shown.
    pub verbose: bool,
}

/// Does it.
///
/// # Errors
///
/// [`Error::Story`] if something is not as it should be, and what a kernel can end with.
pub fn run(options: &Options, report: &dyn Report) -> Result<()> {
    if options.kernels.len() < 2 {
        return Err(Error::Usage("a pool has two hosts at least: --kernels guest,guest".into()));
    }
    let kernels = Kernels::new(&options.kernels, options.accel, options.verbose, report)?;
    let memory = SharedMemory::copy_of(Image::demo(options.size)?.path(), None)?;
    let start = Instant::now();
    let mut pool = Pool::new(&kernels, &memory, &options.kernels)?;
    for round in 1..=options.rounds {
        pool.round(round)?;
    }
    let counts = pool.finish()?;
    anstream::println!(
        "\n{} hosts killed, {} of them while committing, {} noticed by the others; {} changes, {} commits, {} \
         verified, failures: 0, {:.1} s",
        options.rounds,
        counts.committing,
        counts.noticed,
        counts.changes,
        counts.commits,
        Bytes(counts.verified),
        start.elapsed().as_secs_f64()
    );
    Ok(())
}

/// What has happened.
#[derive(Clone, Copy, Default, Debug)]
struct Counts {
    committing: u32,
    noticed: u32,
    changes: usize,
    commits: u32,
    verified: u64,
}

/// A place in the pool: one host after another has it.
struct Place {
    name: String,
    kind: Kind,
    host: Host,
    /// What is in its branch.
    files: Files,
    random: Rng,
}

impl Place {
    /// Changes some files. Nothing if the host was killed before it said that it had.
    fn work(&mut self) -> Result<Option<usize>> {
        let mut files = self.files.clone();
        let commands: Vec<String> =
            (0..BATCH).map(|_| files.change(&self.host, &mut self.random)).collect();
        match self.host.ask(&commands)? {
            None => Ok(None),
            Some(answer) if answer.status == 0 => {
                self.files = files;
                Ok(Some(BATCH))
            }
            Some(answer) => {
                let (asked, text) = (commands.join("; "), answer.text());
                Err(Error::Story(format!("{} cannot '{asked}': {text}", self.name)))
            }
        }
    }

    /// Works until it is killed.
    fn work_until_killed(&mut self) -> Result<usize> {
        let mut changes = 0;
        while let Some(done) = self.work()? {
            changes += done;
        }
        Ok(changes)
    }

    /// Works as long as the other one lives, and a little longer.
    fn work_beside(&mut self, dead: &AtomicBool) -> Result<usize> {
        let mut changes = 0;
        loop {
            // Relaxed: it says when to stop, and nothing else.
            let last = dead.load(Ordering::Relaxed);
            changes +=
                self.work()?.ok_or_else(|| Error::Story(format!("{} was killed", self.name)))?;
            if last {
                return Ok(changes);
            }
        }
    }

    /// Commits; is killed while it does, or after.
    fn commit_until_killed(&mut self) -> Result<usize> {
        let commit = self.host.commit();
        let look = format!("ls {}", self.host.directory());
        let mut next = commit;
        while let Some(answer) = self.host.ask(&[next])? {
            if answer.status != 0 {
                return Err(Error::Story(format!(
                    "{} cannot commit: {}",
                    self.name,
                    answer.text()
                )));
            }
            next = look.clone();
        }
        Ok(0)
    }
}

/// The pool.
struct Pool<'a> {
    kernels: &'a Kernels,
    memory: &'a SharedMemory,
    places: Vec<Place>,
    /// What is in main.
    main: Files,
    random: Rng,
    counts: Counts,
}

impl<'a> Pool<'a> {
    fn new(kernels: &'a Kernels, memory: &'a SharedMemory, kinds: &[Kind]) -> Result<Self> {
        let mut random = Rng::new();
        let mut places = Vec::new();
        for (number, &kind) in kinds.iter().enumerate() {
            let name = format!("{kind}{number}");
            let host = start(kernels, kind, &name, memory)?;
            places.push(Place { name, kind, host, files: Files::default(), random: random.fork() });
        }
        let names: Vec<&str> = places.iter().map(|place| &*place.name).collect();
        console::heading(format_args!(
            "{} of memory, {} hosts: {}",
            Bytes(memory.size()),
            names.len(),
            names.join(", ")
        ));
        let (main, counts) = (Files::default(), Counts::default());
        let mut pool = Self { kernels, memory, places, main, random, counts };
        for place in &mut pool.places {
            place.host.mount(&options(&place.name))?;
        }
        Ok(pool)
    }

    /// One host dies, one commits, and all start again from there.
    fn round(&mut self, round: u32) -> Result<()> {
        console::heading(format_args!("round {round}"));
        let victim = self.random.usize(..self.places.len());
        let branch = self.branch_of(victim)?;
        let committing = self.random.u32(..COMMITTING) == 0;
        self.work_and_kill(victim, committing)?;
        let noticed = self.random.u32(..NOTICED) == 0;
        if noticed {
            self.wait_until_noticed(victim)?;
        } else {
            self.confirm(victim)?;
        }
        let winner = self.settle(victim, committing)?;
        if noticed {
            self.confirm(victim)?;
        }
        self.wait_until_free(victim, branch)?;
        self.gather(victim, winner)
    }

    /// All work; one of them is killed meanwhile.
    fn work_and_kill(&mut self, victim: usize, committing: bool) -> Result<()> {
        if committing {
            let done = self.places[victim].work()?;
            self.counts.changes += done.unwrap_or(0);
        }
        let most = match (committing, self.places[victim].kind) {
            (true, Kind::Guest) => 20_000,
            (false, Kind::Guest) => 300_000,
            (_, Kind::Linux) => 1_000_000,
        };
        let alive = Duration::from_micros(self.random.u64(..most));
        let killer = self.places[victim].host.killer()?;
        let dead = AtomicBool::new(false);
        let changes: Result<Vec<usize>> = thread::scope(|scope| {
            let dead = &dead;
            let workers: Vec<_> = self
                .places
                .iter_mut()
                .enumerate()
                .map(|(number, place)| {
                    scope.spawn(move || match (number == victim, committing) {
                        (true, true) => place.commit_until_killed(),
                        (true, false) => place.work_until_killed(),
                        // Whoever commits ends the others' branches: they are at rest.
                        (false, true) => Ok(0),
                        (false, false) => place.work_beside(dead),
                    })
                })
                .collect();
            thread::sleep(alive);
            killer.kill();
            dead.store(true, Ordering::Relaxed);
            let joined = workers.into_iter().map(|worker| {
                worker.join().unwrap_or_else(|_| Err(Error::Story("a worker panicked".into())))
            });
            joined.collect()
        });
        let changes = changes?;
        self.counts.changes += changes.iter().sum::<usize>();
        let what =
            if committing { "is killed while it commits" } else { "is killed while it works" };
        for (number, (place, changes)) in self.places.iter().zip(&changes).enumerate() {
            if number == victim {
                tell(&place.name, what);
            } else if !committing {
                tell(&place.name, format_args!("works: {changes} changes"));
            }
        }
        self.counts.committing += u32::from(committing);
        Ok(())
    }

    /// Nobody says that the host is dead: the others find out by themselves.
    fn wait_until_noticed(&mut self, victim: usize) -> Result<()> {
        let name = &self.places[victim].name;
        wait(&format!("the others notice that {name} is dead"), || {
            // Whoever notices it ends its branch next.
            Ok(outside::is_expired(self.memory, name)? && self.live_branch(name)?.is_none())
        })?;
        tell(name, "is missed: its heart has not beaten for the lease");
        self.counts.noticed += 1;
        Ok(())
    }

    /// The runner, which has seen its machine end, says so: for this host only.
    fn confirm(&self, victim: usize) -> Result<()> {
        let name = &self.places[victim].name;
        match outside::confirm(self.memory, name)? {
            1 => {
                tell(name, "is dead: the runner, which saw its machine end, has confirmed it");
                Ok(())
            }
            members => Err(Error::Story(format!("{name} was {members} members, not one"))),
        }
    }

    /// Finds out who has won, or lets a survivor commit. Everybody else is told. Returns the winner.
    fn settle(&mut self, victim: usize, committing: bool) -> Result<usize> {
        let name = self.places[victim].name.clone();
        if self.live_branch(&name)?.is_some() {
            return Err(Error::Story(format!("{name} is dead, and its branch is still there")));
        }
        let survivors: Vec<usize> = (0..self.places.len()).filter(|&n| n != victim).collect();
        let mut stale = Vec::new();
        for &survivor in &survivors {
            stale.push(self.places[survivor].host.is_stale()?);
        }
        let won = stale.first() == Some(&true);
        if stale.iter().any(|&stale| stale != won) || (won && !committing) {
            return Err(Error::Story(format!(
                "after the death of {name}, ESTALE is told to: {stale:?}"
            )));
        }
        if won {
            self.counts.commits += 1;
            tell(&name, "had committed: ESTALE for all others");
            return Ok(victim);
        }
        tell(&name, "has left nothing behind: its branch is gone");
        for &survivor in &survivors {
            let place = &mut self.places[survivor];
            let bytes = place.files.verify(&mut place.host)? as u64;
            self.counts.verified += bytes;
            tell_files(&place.name, &place.files, bytes, "has");
        }
        let winner = survivors[self.random.usize(..survivors.len())];
        let place = &mut self.places[winner];
        place.host.must(&[place.host.commit()])?;
        self.counts.commits += 1;
        let others: Vec<usize> = survivors.into_iter().filter(|&n| n != winner).collect();
        for &other in &others {
            if !self.places[other].host.is_stale()? {
                let name = &self.places[other].name;
                return Err(Error::Story(format!("{name} is not told that its branch has ended")));
            }
        }
        let told: Vec<&str> = others.iter().map(|&other| &*self.places[other].name).collect();
        match told.join(", ") {
            told if told.is_empty() => tell(&self.places[winner].name, "commits"),
            told => tell(&self.places[winner].name, format_args!("commits: ESTALE for {told}")),
        }
        Ok(winner)
    }

    /// What the dead had taken is given back.
    fn wait_until_free(&self, victim: usize, branch: BranchId) -> Result<()> {
        let name = &self.places[victim].name;
        wait(&format!("the space of {name} is free again"), || {
            Ok(outside::branches(self.memory)?.iter().all(|other| other.id != branch))
        })?;
        tell(name, "holds no space any more");
        Ok(())
    }

    /// All have a branch of what the winner has committed.
    fn gather(&mut self, victim: usize, winner: usize) -> Result<()> {
        self.main = self.places[winner].files.clone();
        for (number, place) in self.places.iter_mut().enumerate() {
            let again = options(&place.name);
            if number == winner && number != victim {
                let create = place.host.create(&place.name);
                place.host.must(&[create])?;
            } else if number != victim && place.kind == Kind::Linux {
                place.host.mount_again(&again)?;
            } else {
                // A guest's kernel has one mount in its life.
                let next = start(self.kernels, place.kind, &place.name, self.memory)?;
                let last = std::mem::replace(&mut place.host, next).into_kernel();
                if number == victim {
                    last.kill()?;
                } else {
                    last.finish(LIMIT)?;
                }
                place.host.mount(&again)?;
            }
            place.files = self.main.clone();
            let bytes = place.files.verify(&mut place.host)? as u64;
            self.counts.verified += bytes;
            let how = if number == victim { "is back, with" } else { "goes on with" };
            tell_files(&place.name, &place.files, bytes, how);
        }
        Ok(())
    }

    /// Identity of the branch that a host owns.
    fn branch_of(&self, number: usize) -> Result<BranchId> {
        let name = &self.places[number].name;
        let found = self.live_branch(name)?;
        found.ok_or_else(|| Error::Story(format!("there is no branch {name}, and its owner lives")))
    }

    fn live_branch(&self, name: &str) -> Result<Option<BranchId>> {
        let (branches, name) = (outside::branches(self.memory)?, BranchName::new(name.as_bytes()));
        let found = branches.iter().find(|branch| branch.is_live() && Some(branch.name) == name);
        Ok(found.map(|branch| branch.id))
    }

    /// Ends all hosts as they should be ended, and looks at what they leave.
    fn finish(self) -> Result<Counts> {
        for place in self.places {
            place.host.into_kernel().finish(LIMIT)?;
        }
        let found = self.main.verify_outside(self.memory)?;
        console::right(format_args!(
            "all hosts are down; the image passes every check, and main has {} files ({})",
            self.main.count(),
            Bytes(found)
        ));
        Ok(self.counts)
    }
}

/// What a host mounts with: a branch of its own, which ends when the host does.
fn options(name: &str) -> String {
    format!("rw,branch={name},parent=main,name={name}")
}

fn start(kernels: &Kernels, kind: Kind, name: &str, memory: &SharedMemory) -> Result<Host> {
    let options = match kind {
        // It would keep its branch.
        Kind::Guest => format!("{},nokeep", options(name)),
        Kind::Linux => options(name),
    };
    kernels.start(kind, name, memory, &options)
}

/// Waits until something that other kernels do has happened.
fn wait(what: &str, mut happened: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    while !happened()? {
        if Instant::now() > deadline {
            return Err(Error::Story(format!(
                "in {} s, this does not happen: {what}",
                LIMIT.as_secs()
            )));
        }
        thread::sleep(GLANCE);
    }
    Ok(())
}

fn tell(name: &str, what: impl Display) {
    console::right(format_args!("{name:<8} {what}"));
}

fn tell_files(name: &str, files: &Files, bytes: u64, how: &str) {
    tell(name, format_args!("{how} {} files, all right ({})", files.count(), Bytes(bytes)));
}

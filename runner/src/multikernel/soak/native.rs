//! This process as a member of the range: it writes, looks, and cleans up.
//!
//! What it says about the others is what the engine shows it, while they work: a folder may change under
//! a look, and a base may end. Only what is wrong and stays so is a failure.

use super::ledger::Ledger;
use super::work::{self, Seen, Writer};
use crate::error::Result;
use crate::memory::SharedMemory;
use crate::multikernel::outside::{self, region, wrong};
use daxfs::std_platform::StdPlatform;
use daxfs::{
    Access, BranchInfo, BranchName, FileType, Mount, MountOptions, NewInode, RenameMode, Volume,
};
use fastrand::Rng;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Between two rounds, and between two looks: there are others who want to work.
const PAUSE: Duration = Duration::from_millis(20);
/// After one in so many looks at everything a base is committed into `main`.
const RACE: u64 = 80;
/// How often a folder is looked at again that changed meanwhile.
const LOOKS: u32 = 100;
/// How often what the dead have left is looked for.
const TICKS: u64 = 100;

type NativeMount = Mount<StdPlatform>;

/// This process as a member.
pub struct Native<'a> {
    memory: &'a SharedMemory,
    ledger: &'a Ledger,
    writers: Vec<Writer>,
    /// The number of the base that is made next.
    next: AtomicU64,
    /// The bases as they were made, with the rounds that were in `main` then.
    bases: Mutex<BTreeMap<String, Vec<u64>>>,
    start: Instant,
}

impl<'a> Native<'a> {
    /// A member of nothing yet.
    #[must_use]
    pub fn new(memory: &'a SharedMemory, ledger: &'a Ledger, guests: u32) -> Self {
        Self {
            memory,
            ledger,
            writers: Writer::all(guests),
            next: AtomicU64::new(1),
            bases: Mutex::default(),
            start: Instant::now(),
        }
    }

    fn volume(&self) -> Result<Volume<StdPlatform>> {
        Volume::open(StdPlatform, region(self.memory, true)?).map_err(wrong)
    }

    fn mount(&self, options: &MountOptions) -> Result<daxfs::Result<NativeMount>> {
        Ok(Mount::new(StdPlatform, region(self.memory, true)?, options))
    }

    fn look_at(&self, branch: &str) -> Result<daxfs::Result<NativeMount>> {
        let branch = BranchName::new(branch.as_bytes());
        self.mount(&MountOptions { branch, ..MountOptions::default() })
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// Looks at everything, makes bases where they have ended, and ends them now and then, until it is
    /// told to stop.
    ///
    /// # Errors
    ///
    /// What keeps it from looking at all.
    pub fn watch(&self, goes_on: &AtomicBool, mut random: Rng) -> Result<()> {
        // Relaxed: a flag by itself.
        while goes_on.load(Ordering::Relaxed) {
            self.make_bases()?;
            for &writer in &self.writers {
                if let Some(base) = self.base(writer)? {
                    self.look(&base, writer)?;
                }
            }
            self.look("main", *random.choice(&self.writers).unwrap_or(&Writer::Linux))?;
            if random.u64(..RACE) == 0 {
                self.race(&mut random)?;
            }
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// The base of a writer, if it has one.
    fn base(&self, writer: Writer) -> Result<Option<String>> {
        let prefix = format!("{writer}.");
        for _ in 0..LOOKS {
            let mut found = None;
            let listed = self.volume()?.branches(&mut |branch| {
                let name = branch.name.to_string();
                if branch.is_live() && name.starts_with(&prefix) {
                    found = Some(name);
                }
            });
            match listed {
                Ok(()) => return Ok(found),
                // Too much happens.
                Err(daxfs::Error::Contended) => {}
                Err(error) => return Err(wrong(error)),
            }
        }
        Err(wrong("the branches cannot be listed: they change all the time"))
    }

    /// Makes the bases that are missing. They may be if one was committed since they were made.
    ///
    /// # Errors
    ///
    /// What keeps it from looking at all.
    pub fn make_bases(&self) -> Result<()> {
        for &writer in &self.writers {
            if self.base(writer)?.is_some() {
                continue;
            }
            let rounds = self.rounds()?;
            let mut bases = self.bases.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let prefix = format!("{writer}.");
            if let Some((name, before)) = bases.iter().find(|(name, _)| name.starts_with(&prefix)) {
                if *before == rounds {
                    self.ledger.failure(format!("{name} has ended, and nobody won"));
                }
                let name = name.clone();
                bases.remove(&name);
            }
            // Relaxed: only this thread makes any.
            let name = format!("{prefix}{}", self.next.fetch_add(1, Ordering::Relaxed));
            // By a mount, which finds what is not needed any more in `main`.
            let made = self.mount(&MountOptions {
                branch: BranchName::new(name.as_bytes()),
                access: Access::ReadWrite,
                keep: true,
                ..MountOptions::default()
            });
            match made?.and_then(|mount| {
                mount.tick(self.now())?;
                mount.unmount()
            }) {
                Ok(()) => {
                    bases.insert(name, rounds);
                }
                // Somebody has just committed something; there is another time.
                Err(daxfs::Error::Contended | daxfs::Error::Owned { .. } | daxfs::Error::Stale) => {
                }
                Err(error) => return Err(wrong(format!("{name} cannot be made: {error}"))),
            }
        }
        Ok(())
    }

    /// The rounds in `main`, of all writers.
    fn rounds(&self) -> Result<Vec<u64>> {
        let mount = self.look_at("main")?.map_err(wrong)?;
        let rounds = self.writers.iter().map(|&writer| work::round(&mount, writer));
        let rounds = rounds.collect::<daxfs::Result<Vec<_>>>().map_err(wrong)?;
        mount.unmount().map_err(wrong)?;
        Ok(rounds)
    }

    /// Looks at a writer's folder in a branch.
    fn look(&self, branch: &str, writer: Writer) -> Result<()> {
        let known = self.known(branch, writer);
        let committed = self.ledger.committed(&known);
        for _ in 0..LOOKS {
            match self.seen(branch, writer)? {
                // It changed meanwhile.
                Ok(None) => {}
                Ok(Some(seen)) => {
                    self.ledger.count(|counts| {
                        counts.looks += 1;
                        counts.bytes_verified += seen.bytes;
                    });
                    if let Some(wrong) = &seen.wrong {
                        self.ledger.failure(format!("{branch}: {wrong} (round {})", seen.round));
                    }
                    if seen.round < committed {
                        let what = format!(
                            "{branch}: {writer} is at round {}, was at {committed}",
                            seen.round
                        );
                        self.ledger.failure(what);
                    }
                    self.ledger.commit(&known, seen.round);
                    return Ok(());
                }
                // It has ended.
                Err(daxfs::Error::NoSuchBranch { .. } | daxfs::Error::Stale) => return Ok(()),
                Err(daxfs::Error::Contended) => {}
                Err(error) => {
                    self.ledger.failure(format!("{branch}: {error}"));
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// What the ledger knows a writer's folder in a branch as.
    fn known(&self, branch: &str, writer: Writer) -> String {
        if branch == "main" { format!("main/{writer}") } else { branch.to_owned() }
    }

    /// What is in a writer's folder; nothing if it changed while it was looked at.
    fn seen(&self, branch: &str, writer: Writer) -> Result<daxfs::Result<Option<Seen>>> {
        let mount = match self.look_at(branch)? {
            Ok(mount) => mount,
            Err(error) => return Ok(Err(error)),
        };
        let seen = work::verify(&mount, writer);
        let now = work::round(&mount, writer);
        // It may have been taken for dead, if this process did not run for long.
        let _ = mount.unmount();
        Ok(match (seen, now) {
            (Ok(seen), Ok(now)) => Ok((seen.round == now).then_some(seen)),
            (Err(error), _) | (_, Err(error)) => Err(error),
        })
    }

    /// Commits a base into `main`, if nobody works on it at the moment and there is something to win.
    fn race(&self, random: &mut Rng) -> Result<()> {
        let writer = *random.choice(&self.writers).unwrap_or(&Writer::Native);
        let main = self.known("main", writer);
        // Guests and others leave their bases alone for moments only.
        for _ in 0..LOOKS {
            let Some(base) = self.base(writer)? else { return Ok(()) };
            let committed = self.ledger.committed(&base);
            self.look("main", writer)?;
            if committed <= self.ledger.committed(&main) {
                return Ok(());
            }
            let Some(name) = BranchName::new(base.as_bytes()) else { return Ok(()) };
            match self.volume()?.commit(&name) {
                Ok(()) => {
                    self.ledger.count(|counts| counts.races += 1);
                    self.ledger.commit(&main, committed);
                    self.look("main", writer)?;
                    return Ok(());
                }
                Err(daxfs::Error::NoSuchBranch { .. } | daxfs::Error::Stale) => return Ok(()),
                Err(
                    daxfs::Error::HasChildren { .. }
                    | daxfs::Error::Owned { .. }
                    | daxfs::Error::Contended,
                ) => thread::sleep(PAUSE),
                Err(error) => {
                    self.ledger.failure(format!("{base} cannot be committed: {error}"));
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Works in rounds, and dies now and then, until it is told to stop.
    ///
    /// # Errors
    ///
    /// What keeps it from working at all.
    pub fn work(&self, goes_on: &AtomicBool, mut random: Rng) -> Result<()> {
        // Relaxed: a flag by itself.
        while goes_on.load(Ordering::Relaxed) {
            if let Some(base) = self.base(Writer::Native)? {
                let life = format!("native-{:x}", random.u64(..));
                let ended = self.live(&base, &life, goes_on, &mut random)?;
                match ended {
                    Ok(()) => {}
                    // Others tell whether the base may have ended.
                    Err(
                        daxfs::Error::NoSuchBranch { .. }
                        | daxfs::Error::Stale
                        | daxfs::Error::Contended
                        | daxfs::Error::Owned { .. },
                    ) => {}
                    Err(error) => {
                        let state = self.state()?;
                        self.ledger.failure(format!("native: {error}; {state}"));
                    }
                }
                // Also where it ended otherwise: nobody is left of this name.
                outside::confirm(self.memory, &life)?;
            }
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// One mount, from its beginning to its end, or death.
    fn live(
        &self,
        base: &str,
        life: &str,
        goes_on: &AtomicBool,
        random: &mut Rng,
    ) -> Result<daxfs::Result<()>> {
        let own = BranchName::new(b"native").ok_or_else(|| wrong("no name for a branch"))?;
        let mounted = self.mount(&MountOptions {
            branch: Some(own),
            parent: BranchName::new(base.as_bytes()),
            name: BranchName::new(life.as_bytes()),
            access: Access::ReadWrite,
            ..MountOptions::default()
        });
        let mount = match mounted? {
            Ok(mount) => mount,
            Err(error) => return Ok(Err(error)),
        };
        let rounds = random.u64(1..40);
        let dies = random.bool();
        let worked = work::round(&mount, Writer::Native).and_then(|before| {
            for round in before + 1..=before + rounds {
                if !goes_on.load(Ordering::Relaxed) {
                    break;
                }
                if dies && round == before + rounds {
                    self.steps(&mount, round, random.usize(..STEPS))?;
                    break;
                }
                self.steps(&mount, round, STEPS)?;
                self.ledger.round(base, 1, round);
                mount.create_branch(&own, None)?;
                mount.tick(self.now())?;
                thread::sleep(PAUSE);
            }
            Ok(())
        });
        if dies && worked.is_ok() {
            // It ends without a word.
            drop(mount);
            self.ledger.count(|counts| {
                counts.native_deaths += 1;
                counts.recoveries += 1;
            });
            return Ok(Ok(()));
        }
        let left = mount.unmount();
        Ok(worked.and(left))
    }

    /// The first `count` of the [`STEPS`] of a round.
    fn steps(&self, mount: &NativeMount, round: u64, count: usize) -> daxfs::Result<()> {
        let top = format!("/{}", Writer::Native);
        let folder = Writer::Native.folder(round);
        let [first, second] = Writer::Native.files(round);
        let text = work::round_text(round);
        let next = format!("{folder}/t");
        for step in 0..count {
            match step {
                0 => directory(mount, &top)?,
                1 => directory(mount, &folder)?,
                2 => put(mount, &next, &first.1.bytes())?,
                3 => rename(mount, &next, &format!("{folder}/{}", first.0))?,
                4 => put(mount, &next, &second.1.bytes())?,
                5 => rename(mount, &next, &format!("{folder}/{}", second.0))?,
                6 => put(mount, &next, &text)?,
                7 => rename(mount, &next, &format!("{folder}/round"))?,
                8 => put(mount, &format!("{top}/t"), &text)?,
                9 => rename(mount, &format!("{top}/t"), &format!("{top}/state"))?,
                _ => mount.commit()?,
            }
        }
        Ok(())
    }

    /// Who is there, and who has what.
    fn state(&self) -> Result<String> {
        let volume = self.volume()?;
        let mut text = String::new();
        let members = volume.members(&mut |member| {
            let name = String::from_utf8_lossy(&member.identity.name);
            // Writing to a string does not fail.
            let _ = write!(
                text,
                "{}: {} of {:x} {:?}, beat {}, has followed to {}, {:?}; ",
                member.index.get(),
                name.trim_end_matches('\0'),
                member.identity.kernel,
                member.state,
                member.heartbeat,
                member.acknowledged,
                member.following
            );
        });
        members.map_err(wrong)?;
        let branches = volume.branches(&mut |branch| {
            let BranchInfo { id, name, state, segments, .. } = branch;
            let _ = write!(text, "{} {name} {state:?}: {segments} segments; ", id.get());
        });
        branches.map_err(wrong)?;
        Ok(text)
    }

    /// After everything else has died: cleans up, checks everything, and accounts for all space.
    ///
    /// # Errors
    ///
    /// What does not hold.
    pub fn recover(&self) -> Result<()> {
        outside::reap_all(self.memory)?;
        self.ledger.count(|counts| counts.recoveries += 1);
        let options = MountOptions { validate: true, ..MountOptions::default() };
        self.mount(&options)?.map_err(wrong)?.unmount().map_err(wrong)?;
        self.make_bases()?;
        for &writer in &self.writers {
            self.look("main", writer)?;
            if let Some(base) = self.base(writer)? {
                self.look(&base, writer)?;
            }
        }
        self.account()
    }

    /// Every segment has to be free, or a live branch's; and there may not be too many of these.
    fn account(&self) -> Result<()> {
        let mount = self.mount(&MountOptions {
            branch: BranchName::new(b"account"),
            access: Access::ReadWrite,
            ..MountOptions::default()
        });
        let mount = mount?.map_err(wrong)?;
        let mut last = (0, 0, 0, 0);
        for tick in 0..TICKS {
            mount.tick(tick + 1).map_err(wrong)?;
            let (mut live, mut dead) = (0, 0);
            let listed = mount.branches(&mut |branch| {
                *(if branch.is_live() { &mut live } else { &mut dead }) += branch.segments;
            });
            listed.map_err(wrong)?;
            let stat = mount.statfs().map_err(wrong)?;
            last = (live, dead, stat.segments_free.into(), stat.segments_total.into());
            let (live, dead, free, total): (u64, u64, u64, u64) = last;
            if dead == 0 && live + free == total && free >= total / 2 {
                return mount.unmount().map_err(wrong);
            }
        }
        let (live, dead, free, total) = last;
        Err(wrong(format!(
            "of {total} segments {free} are free, {live} live branches', {dead} those of branches that have ended"
        )))
    }
}

/// Steps of a round.
const STEPS: usize = 11;

fn new(kind: FileType) -> NewInode {
    NewInode { mode: kind.mode_bits() | 0o755, uid: 0, gid: 0, rdev: 0 }
}

fn directory(mount: &NativeMount, path: &str) -> daxfs::Result<()> {
    let (parent, name) = mount.resolve_parent(path.as_bytes())?;
    match mount.create(parent, name, &new(FileType::Directory)) {
        Ok(_) | Err(daxfs::Error::Exists) => Ok(()),
        Err(error) => Err(error),
    }
}

fn put(mount: &NativeMount, path: &str, content: &[u8]) -> daxfs::Result<()> {
    let (parent, name) = mount.resolve_parent(path.as_bytes())?;
    let file = mount.create(parent, name, &new(FileType::Regular))?.ino;
    let mut done = 0;
    while let Some(rest) = content.get(done..).filter(|rest| !rest.is_empty()) {
        done += mount.write(file, done as u64, rest)?;
    }
    Ok(())
}

fn rename(mount: &NativeMount, from: &str, to: &str) -> daxfs::Result<()> {
    let (from_dir, from) = mount.resolve_parent(from.as_bytes())?;
    let (to_dir, to) = mount.resolve_parent(to.as_bytes())?;
    mount.rename(from_dir, from, to_dir, to, RenameMode::Replace)
}

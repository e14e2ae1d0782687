//! What changed from one look to the next.

use super::snapshot::Snapshot;
use crate::text::Printable;
use daxfs::{BranchId, BranchInfo, BranchState, Delta, MemberIndex, MemberInfo, MemberState};
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// Most events that are kept.
const EVENTS: usize = 200;
/// How far back the rate of changes looks.
const RATE_WINDOW: Duration = Duration::from_secs(5);

/// Everything seen so far that is worth knowing.
#[derive(Default)]
pub(super) struct History {
    snapshot: Option<Snapshot>,
    now: Duration,
    /// Why the last look failed.
    problem: Option<String>,
    pulses: HashMap<MemberIndex, Pulse>,
    events: VecDeque<Event>,
    /// Sequence numbers of the tree, and when they were seen.
    sequences: VecDeque<(Duration, u64)>,
}

/// A heartbeat.
#[derive(Clone, Copy)]
struct Pulse {
    kernel: u64,
    beat: u64,
    /// When it was seen to change.
    at: Duration,
}

/// Something that happened.
pub(super) struct Event {
    /// When it was seen.
    pub(super) at: Duration,
    pub(super) what: String,
}

/// How a member does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Health {
    /// Its heart beats.
    Well,
    /// It has not for half of the lease.
    Late,
    /// It has not for longer than the lease.
    Silent,
}

impl History {
    pub(super) fn snapshot(&self) -> Option<&Snapshot> {
        self.snapshot.as_ref()
    }

    pub(super) fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// What happened, the latest first.
    pub(super) fn events(&self) -> impl Iterator<Item = &Event> {
        self.events.iter().rev()
    }

    /// How long ago `member` showed a heartbeat that was new.
    pub(super) fn silence(&self, member: &MemberInfo) -> Duration {
        self.pulses.get(&member.index).map_or(Duration::ZERO, |pulse| self.now - pulse.at)
    }

    pub(super) fn health(&self, member: &MemberInfo) -> Health {
        let lease = match self.snapshot.as_ref().map(|snapshot| snapshot.geometry.delta) {
            Some(Delta::Segmented(segments)) => Duration::from_millis(segments.lease_ms),
            _ => Duration::MAX,
        };
        match self.silence(member) {
            silence if silence > lease => Health::Silent,
            silence if silence > lease / 2 => Health::Late,
            _ => Health::Well,
        }
    }

    /// Changes of the branch tree per second, lately.
    pub(super) fn rate(&self) -> f64 {
        let (Some((start, first)), Some((end, last))) =
            (self.sequences.front(), self.sequences.back())
        else {
            return 0.0;
        };
        let seconds = (*end - *start).as_secs_f64();
        if seconds > 0.0 { last.saturating_sub(*first) as f64 / seconds } else { 0.0 }
    }

    /// A look failed.
    pub(super) fn fail(&mut self, error: &daxfs::Error, now: Duration) {
        self.now = self.now.max(now);
        self.problem = Some(error.to_string());
    }

    /// A look succeeded.
    pub(super) fn note(&mut self, new: Snapshot, now: Duration) {
        self.now = self.now.max(now);
        self.problem = None;
        self.pulses.retain(|index, _| new.members.iter().any(|member| member.index == *index));
        for member in &new.members {
            let (kernel, beat) = (member.identity.kernel, member.heartbeat);
            let pulse = Pulse { kernel, beat, at: self.now };
            let known = self.pulses.entry(member.index).or_insert(pulse);
            if (known.kernel, known.beat) != (kernel, beat) {
                *known = pulse;
            }
        }
        if let Some(tree) = &new.tree {
            self.sequences.push_back((self.now, tree.sequence));
            // One that is older stays, so that the window is covered.
            let old = |&(at, _): &(Duration, u64)| at + RATE_WINDOW < self.now;
            while self.sequences.get(1).is_some_and(old) {
                self.sequences.pop_front();
            }
        }
        if let Some(before) = self.snapshot.take() {
            let mut happened = branch_events(&before, &new);
            happened.extend(member_events(&before, &new));
            for what in happened {
                self.events.push_back(Event { at: self.now, what });
            }
            while self.events.len() > EVENTS {
                self.events.pop_front();
            }
        }
        self.snapshot = Some(new);
    }
}

fn branch_events(before: &Snapshot, after: &Snapshot) -> Vec<String> {
    let mut events = Vec::new();
    let parent = |branch: &BranchInfo| {
        let parent = branch.parent.and_then(|id| after.branch(id).or_else(|| before.branch(id)));
        parent.map_or_else(|| "nothing".to_owned(), named)
    };
    for branch in &after.branches {
        let name = named(branch);
        match before.branch(branch.id) {
            None => events.push(format!("branch {name} made from {}", parent(branch))),
            Some(old) if old.state != branch.state => events.push(match branch.state {
                BranchState::Committed => format!("branch {name} committed to {}", parent(branch)),
                BranchState::Aborted => format!("branch {name} aborted"),
                BranchState::Active => format!("branch {name} is there"),
                BranchState::Making | BranchState::Free => continue,
            }),
            Some(old) if old.owner != branch.owner => events.push(match branch.owner {
                Some(owner) => format!("branch {name} is member {}'s now", owner.get()),
                None => format!("branch {name} is nobody's now"),
            }),
            Some(_) => {}
        }
    }
    let gone = |branch: &&BranchInfo| after.branch(branch.id).is_none();
    for branch in before.branches.iter().filter(gone) {
        events.push(match branch.state {
            BranchState::Committed | BranchState::Aborted => {
                format!("all space of branch {} is used again", named(branch))
            }
            _ => format!("branch {} ended", named(branch)),
        });
    }
    events
}

fn member_events(before: &Snapshot, after: &Snapshot) -> Vec<String> {
    let mut events = Vec::new();
    let same = |a: &MemberInfo, b: &MemberInfo| {
        a.index == b.index && a.identity == b.identity && a.heartbeat <= b.heartbeat
    };
    for member in &after.members {
        let number = member.index.get();
        let old = before.members.iter().find(|old| same(old, member));
        match old {
            None => events.push(format!("member {number} {} joined", member_name(member))),
            Some(old) if old.state != member.state && member.state == MemberState::Expired => {
                events.push(format!("member {number} {} expired", member_name(member)));
            }
            Some(_) => {}
        }
    }
    for old in &before.members {
        if !after.members.iter().any(|member| same(old, member)) {
            let number = old.index.get();
            events.push(match old.state {
                MemberState::Expired => format!("member {number} was reaped"),
                _ => format!("member {number} {} left", member_name(old)),
            });
        }
    }
    events
}

fn named(branch: &BranchInfo) -> String {
    format!("'{}'", Printable(branch.name.as_bytes()))
}

/// What people call a member, printable.
pub(super) fn member_name(member: &MemberInfo) -> String {
    let name = &member.identity.name;
    let end = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
    Printable(&name[..end]).to_string()
}

/// The branch that a member owns, or else the one it follows.
pub(super) fn branch_of(snapshot: &Snapshot, member: &MemberInfo) -> Option<BranchId> {
    let owned = snapshot.branches.iter().find(|branch| branch.owner == Some(member.index));
    owned.map(|branch| branch.id).or(member.following)
}

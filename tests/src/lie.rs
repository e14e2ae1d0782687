//! What a hostile peer would store in a field: values that get through the first checks.

use crate::field::{Field, Structure};
use daxfs_format::branch::BranchState;
use daxfs_format::coordination::{MemberIndex, TreeOperation, TreeWord};
use daxfs_format::{LogPosition, Slot};

/// Where a liar takes its choices from: a generator of random numbers, or the input of a fuzzer.
pub trait Choices {
    /// A number below `bound`, which is not 0.
    fn below(&mut self, bound: u64) -> u64;

    /// Any number.
    fn any(&mut self) -> u64;
}

impl Choices for fastrand::Rng {
    fn below(&mut self, bound: u64) -> u64 {
        self.u64(..bound)
    }

    fn any(&mut self) -> u64 {
        self.u64(..)
    }
}

/// Numbers of things, of which a small image has few, and some it has not.
const FEW: u64 = 40;

/// The fields kernels coordinate with: what changes while an image is mounted.
#[must_use]
pub fn shared(fields: &[Field]) -> Vec<Field> {
    let is_shared = |field: &&Field| {
        matches!(
            field.structure,
            Structure::Record { .. }
                | Structure::Coordination
                | Structure::Member { .. }
                | Structure::MapWord { .. }
                | Structure::LogHeader { .. }
                | Structure::Entry { .. }
        )
    };
    // Where nothing has a meaning, lies have none either.
    let has_meaning =
        |field: &&Field| !field.name.contains("reserved") && !field.name.contains("pad");
    fields.iter().filter(is_shared).filter(has_meaning).copied().collect()
}

/// Fields of the same structure type, together: a liar that chooses a kind first reaches the few fields
/// of a rare one as often as the many of another.
#[must_use]
pub fn by_kind(fields: &[Field]) -> Vec<Vec<Field>> {
    let mut kinds: Vec<Vec<Field>> = Vec::new();
    for field in fields {
        let kind = std::mem::discriminant(&field.structure);
        let same = |other: &&mut Vec<Field>| {
            other.first().is_some_and(|f| std::mem::discriminant(&f.structure) == kind)
        };
        match kinds.iter_mut().find(same) {
            Some(fields) => fields.push(*field),
            None => kinds.push(vec![*field]),
        }
    }
    kinds
}

/// What to store in `field`, which holds `value`, in its lower bytes.
pub fn lie(field: &Field, value: u64, choices: &mut dyn Choices) -> u64 {
    match (choices.below(3), meant(field, value, choices)) {
        (1.., Some(lie)) => lie,
        _ => any_lie(value, choices),
    }
}

/// A value that is nearly right, or quite wrong.
pub fn any_lie(value: u64, choices: &mut dyn Choices) -> u64 {
    match choices.below(7) {
        0 => value.wrapping_add(1),
        1 => value.wrapping_sub(1),
        2 => value ^ (1 << choices.below(64)),
        3 => 0,
        4 => u64::MAX,
        5 => choices.below(FEW),
        _ => choices.any(),
    }
}

/// A value that has a meaning in this field: another state, another owner, another place.
fn meant(field: &Field, value: u64, choices: &mut dyn Choices) -> Option<u64> {
    let few = |choices: &mut dyn Choices| choices.below(FEW);
    Some(match field.name {
        "CoordinationBlock.tree" => {
            let old = TreeWord::from_word(value).unwrap_or(TreeWord::idle(1));
            let operation = [
                TreeOperation::Idle,
                TreeOperation::Publish,
                TreeOperation::PublishOwned,
                TreeOperation::Claim,
                TreeOperation::ClaimKeep,
                TreeOperation::Commit,
                TreeOperation::Abort,
            ][choices.below(7) as usize];
            let slot = Slot::new(choices.below(8) as u32);
            let member = MemberIndex::new(choices.below(4) as u8);
            let sequence = (old.sequence + choices.below(2)) % TreeWord::MAX_SEQUENCE;
            TreeWord { sequence, operation, slot, member }.to_word()
        }
        "BranchRecord.state" => {
            let states = [
                BranchState::Free,
                BranchState::Active,
                BranchState::Committed,
                BranchState::Aborted,
                BranchState::Making,
            ];
            u64::from(states[choices.below(5) as usize].raw())
        }
        // Owner, whether it is kept, generation.
        "BranchRecord.refcount" => {
            choices.below(4)
                | (choices.below(2) << 9)
                | ((value & !0x3ff) + (choices.below(2) << 10))
        }
        // The head of a chain, and a generation.
        "BranchRecord.log" => few(choices) | ((value >> 32) + choices.below(2)) << 32,
        "BranchRecord.branch_id" | "BranchRecord.parent_id" | "LogSegmentHeader.writer" => {
            choices.below(8)
        }
        "MemberRecord.state" => ((value >> 8) + choices.below(2)) << 8 | choices.below(4),
        "MemberRecord.following" | "MemberRecord.knows" => choices.below(8),
        // A kind, a life, an owner.
        "word" => choices.below(4) | (value & 0x00ff_ff00) | (choices.below(8) << 24),
        "LogSegmentHeader.next" | "LogSegmentHeader.ordinal" => few(choices),
        "LogSegmentHeader.published" => {
            let offset = choices.below(1 << 16) as u32 & !7;
            LogPosition::at(choices.below(4) as u32, offset).get()
        }
        "LogSegmentHeader.end" => choices.below(1 << 16) & !7,
        _ => return None,
    })
}

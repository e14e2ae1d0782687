//! Mistakes that the model can be told to make: each leaves out one thing the protocol needs, and a
//! test shows that the properties notice.

/// What is left out.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Mutation {
    /// Nothing: the protocol as it is.
    None,
    /// A helper does not look at the tree word again before its exchanges.
    NoSecondLook,
    /// A helper takes an exchange that failed for one that another helper has done.
    OneTry,
    /// A record's state word has no generation.
    NoBranchGeneration,
    /// The tree word has no sequence.
    NoSequence,
    /// A member's state word has no epoch.
    NoEpoch,
    /// Cleaning up after a member does not look whether it is still that member.
    CleanUpByPlace,
    /// The branch itself is turned first in a commit.
    CommitTurnsFirst,
    /// A change is installed without a look at the table in between.
    NoCheck,
    /// A member says that it has followed before it has let go.
    AcknowledgeEarly,
    /// Space is given back without asking the others.
    FreeWithoutWaiting,
    /// Space of an aborted branch is stamped with a sequence at which the abort was not complete.
    StampEarly,
    /// Members that are taken for dead are not asked.
    ForgetExpired,
    /// A branch that was taken is loaded without a look whether it is still there.
    LoadWithoutLook,
}

impl Mutation {
    /// All that leave something out.
    pub const ALL: [Self; 13] = [
        Self::NoSecondLook,
        Self::OneTry,
        Self::NoBranchGeneration,
        Self::NoSequence,
        Self::NoEpoch,
        Self::CleanUpByPlace,
        Self::CommitTurnsFirst,
        Self::NoCheck,
        Self::AcknowledgeEarly,
        Self::FreeWithoutWaiting,
        Self::StampEarly,
        Self::ForgetExpired,
        Self::LoadWithoutLook,
    ];
}

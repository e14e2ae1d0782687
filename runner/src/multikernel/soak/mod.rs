//! A long run in which kernels of all kinds work on one range and are killed at random moments.
//!
//! Each [`Writer`] works in *rounds*. In a round it makes a branch from its *base*, changes its own folder,
//! and commits; the number of the round says what is in the folder then. A base belongs to nobody; from time
//! to time one is committed into `main`, which ends all others: every writer starts again from there.
//!
//! | module | what it owns |
//! |---|---|
//! | [`work`] | what is done in a round, and whether a folder is what it has to be |
//! | [`script`] | what Linux does: its own rounds; guests started, stopped, and looked after |
//! | [`native`] | this process as a member: it writes, looks, and cleans up |
//! | [`ledger`] | what was counted, what is known to be committed, what went wrong |
//!
//! ```text
//! main
//! +-- guest0.7 (base)     nobody's
//! |   +-- guest0          a guest's, for a round
//! +-- linux.8 (base)
//! |   +-- linux
//! +-- native.9 (base)
//!     +-- native
//! ```

pub mod ledger;
pub mod native;
pub mod script;
pub mod work;

pub use ledger::{Counts, Ledger};
pub use native::Native;
pub use work::Writer;

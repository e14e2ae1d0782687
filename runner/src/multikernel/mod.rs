//! Stories of several kernels that share a range, and the proof of what they tell, from outside.
//!
//! | module | what it owns |
//! |---|---|
//! | [`checkpoint`] | what a kernel saves, so that anybody can tell whether it is whole |
//! | [`root`], [`steps`] | the demonstration: its root file system, what happens in it |
//! | [`outside`] | a look at the shared memory file with the engine, from this process |

pub mod checkpoint;
pub mod outside;
pub mod root;
pub mod steps;

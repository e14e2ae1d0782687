//! Stories of several kernels that share a range, and the proof of what they tell, from outside.
//!
//! | module | what it owns |
//! |---|---|
//! | [`kernel`] | a running kernel in a QEMU of its own, which is asked to do one thing after another |
//! | [`host`] | such a kernel with the range mounted, and how each kind is told what to do |
//! | [`content`], [`files`] | what hosts write, so that anybody can tell whether it is right |
//! | [`checkpoint`] | what a kernel saves, so that anybody can tell whether it is whole |
//! | [`root`], [`steps`] | the demonstration: its root file system, what happens in it |
//! | [`places`] | where guests are in a machine with Linux, what starts them |
//! | [`soak`] | the long run in which all kinds of kernels are killed |
//! | [`watch`] | the live view |
//! | [`outside`] | a look at the shared memory file with the engine, from this process |

pub mod checkpoint;
pub mod content;
pub mod files;
pub mod host;
pub mod kernel;
pub mod outside;
pub mod places;
pub mod root;
pub mod soak;
pub mod steps;
pub mod watch;

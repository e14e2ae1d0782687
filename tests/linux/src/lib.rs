//! Tests of `daxfs.ko` on a real Linux.
//!
//! The program of this crate runs inside of the Linux that the runner boots, on an image with the tree of
//! [`tree`]. It is a list of checks, each named after the behaviour that it wants to see; every check is a
//! process of its own, with a limit of time. `tests/linux.rs` boots the machine, and shows every check as a
//! test of `cargo test`.
//!
//! # Module structure
//!
//! | module | what it owns |
//! |---|---|
//! | [`check`] | checks, and how they are run |
//! | [`suites`] | the checks |
//! | [`tree`] | what is in the base image |
//! | [`mounted`] | mounts, through the new system calls, with their messages |
//! | [`branch`] | ioctls |
//! | [`buffer`] | images in dma-bufs |
//! | [`files`] | short forms of what is done to files |
//! | [`mapping`] | memory-mapped files |
//! | [`worker`] | other processes that a check has take part |
//! | [`user`] | doing things as somebody else |

pub mod branch;
pub mod buffer;
pub mod check;
pub mod files;
pub mod mapping;
pub mod mounted;
pub mod suites;
pub mod tree;
pub mod user;
pub mod worker;

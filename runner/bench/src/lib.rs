//! What `runner bench` measures.
//!
//! The program of this crate runs inside of the Linux that the runner boots, once for every file system
//! and kind of work, and prints a line for each row of the table: what it measured, per operation. This
//! library is what the two of them have in common.

pub mod rows;
pub mod tree;

//! QEMU: its command line, its process, and what it can accelerate with.

pub mod accel;
pub mod machine;
pub mod process;

pub use accel::{Accel, AccelChoice};
pub use machine::{Machine, Shape, Stream};
pub use process::{Ended, Killer, Process, Signals};

//! Branch logs: what an entry says, how a log is read and how it grows (format.md, "Logs").
//!
//! A log is either a chain of log segments (segmented images) or one contiguous run of bytes (plain
//! v3). [`reader`] walks both, [`writer`] appends to chains; [`entry`] is what an entry says, which
//! [`decode`] finds in the range and [`encode`] makes bytes of.

pub mod decode;
pub mod encode;
pub mod entry;
pub mod reader;
pub mod writer;

//! Branch logs: what an entry says, how a log is read and how it grows (format.md, "Logs").
//!
//! A log is either a chain of log segments (segmented images) or one contiguous run of bytes (plain
//! v3). [`reader`] walks both, [`entry`] decodes, [`encode`] encodes, [`writer`] appends to chains.

pub mod encode;
pub mod entry;
pub mod reader;
pub mod writer;

//! daxfs

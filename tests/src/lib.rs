//! daxfs-tests

//! daxfs-guest

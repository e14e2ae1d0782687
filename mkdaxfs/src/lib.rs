//! mkdaxfs

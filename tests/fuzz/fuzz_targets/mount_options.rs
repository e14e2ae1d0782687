//! Mount options, which a guest gets from whoever starts it.

#![no_main]

use daxfs::{MountOptions, parse_number, parse_size};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Err(error) = MountOptions::parse(input) {
        assert!(!error.to_string().is_empty());
    }
    if let (Some(number), Some(size)) = (parse_number(input), parse_size(input)) {
        assert_eq!(number, size, "a number without a suffix is a size");
    }
});

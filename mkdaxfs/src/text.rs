//! Names and states as text.

#[cfg(feature = "watch")]
use daxfs::BranchState;
use std::fmt;

/// Bytes that should be text, fit for a terminal: control characters and bytes that are no UTF-8
/// become `\xNN`, a backslash becomes two.
#[derive(Clone, Copy, Debug)]
pub struct Printable<'a>(pub &'a [u8]);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                match c {
                    '\\' => f.write_str("\\\\")?,
                    c if c.is_control() => {
                        for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                            write!(f, "\\x{byte:02x}")?;
                        }
                    }
                    c => write!(f, "{c}")?,
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// The name of a branch's state.
#[cfg(feature = "watch")]
#[must_use]
pub const fn branch_state(state: BranchState) -> &'static str {
    match state {
        BranchState::Free => "free",
        BranchState::Active => "active",
        BranchState::Committed => "committed",
        BranchState::Aborted => "aborted",
        BranchState::Making => "being made",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_steer_a_terminal_is_escaped() {
        let text = |bytes: &[u8]| Printable(bytes).to_string();
        assert_eq!(text("plain \u{fc}".as_bytes()), "plain \u{fc}");
        assert_eq!(text(b"a\x1b[31m\n"), "a\\x1b[31m\\x0a");
        assert_eq!(text(b"\xff\\"), "\\xff\\\\");
        assert_eq!(text("\u{9b}".as_bytes()), "\\xc2\\x9b");
    }
}

//! Checkpoints: files whose number says what is in them, so that anybody can tell whether one is whole.

use super::content::Content;
use super::kernel::Kind;

/// The file that always is a whole checkpoint.
pub const NAME: &str = "ckpt";

/// The file that the next one is made in.
pub const NEXT: &str = "ckpt.tmp";

/// A checkpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Checkpoint {
    /// Its number: one more than that of the one before.
    pub number: u64,
    /// What kernel saves it.
    pub kind: Kind,
}

impl Checkpoint {
    /// What is in it.
    #[must_use]
    pub const fn content(self) -> Content {
        let (least, more) = match self.kind {
            // So fast that a small file would be there before anybody can kill it.
            Kind::Guest => (400_000, 900_000),
            Kind::Linux => (4096, 30_000),
        };
        // Lengths of consecutive ones differ, and few are whole pages.
        let length = least + self.number.wrapping_mul(7919) % more;
        Content::new(self.kind, self.number, length as usize)
    }

    /// Commands that save it in a directory.
    #[must_use]
    pub fn commands(self, directory: &str) -> [String; 2] {
        let (next, path) = (format!("{directory}{NEXT}"), format!("{directory}{NAME}"));
        [self.content().command(&next), format!("mv {next} {path}")]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_differ() {
        for kind in [Kind::Guest, Kind::Linux] {
            for number in 0..100 {
                let [this, next] = [number, number + 1].map(|number| Checkpoint { number, kind });
                assert_ne!(this.content(), next.content());
                assert_ne!(this.content().length(), next.content().length());
            }
        }
    }
}

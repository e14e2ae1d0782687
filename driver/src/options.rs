//! Mount options, in the syntax of `mount -o` (and of a guest's handover command line).

use crate::error::{Error, Result};
use crate::region::Persistence;
use daxfs_format::branch::BranchName;

/// What a mount may do.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Access {
    /// Look only.
    #[default]
    ReadOnly,
    /// Own a branch and write to it.
    ReadWrite,
}

/// How an image is mounted.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct MountOptions {
    /// The branch; `None` is `main`.
    pub branch: Option<BranchName>,
    /// The parent of the branch, if it has to be made; `None` is `main`.
    pub parent: Option<BranchName>,
    /// What the mount may do.
    pub access: Access,
    /// Whether everything is checked before the mount.
    pub validate: bool,
    /// Whether the branch outlives the mount.
    pub keep: bool,
    /// Whether it is certain that no other kernel uses the range: all who seem to are dead.
    pub exclusive: bool,
    /// What to call this mount in the member table.
    pub name: Option<BranchName>,
}

/// A parsed option string.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ParsedOptions {
    /// `phys=`: physical address of the range.
    pub phys: Option<u64>,
    /// `size=`: bytes of the range.
    pub size: Option<u64>,
    /// `persist=`: whether the range outlives the power.
    pub persistence: Persistence,
    /// The rest.
    pub mount: MountOptions,
}

impl MountOptions {
    /// Parses `phys=ADDR,size=SIZE,rw|ro,branch=NAME,parent=NAME,name=NAME,
    /// persist=none|flush,validate,keep,exclusive`. Numbers are decimal
    /// or `0x`; sizes take the suffixes K, M and G. Empty options are ignored.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] naming the kind of option that is wrong.
    pub fn parse(text: &[u8]) -> Result<ParsedOptions> {
        let mut parsed = ParsedOptions::default();
        for option in text.split(|&b| b == b',').map(<[u8]>::trim_ascii) {
            let (key, value) = match option.iter().position(|&b| b == b'=') {
                Some(at) => (option.get(..at).unwrap_or(&[]), option.get(at + 1..)),
                None => (option, None),
            };
            if !option.is_empty() && !parsed.set(key, value)? {
                return Err(Error::InvalidArgument("unknown mount option"));
            }
        }
        Ok(parsed)
    }
}

impl ParsedOptions {
    /// Takes one option, with what stands behind its "="; says whether there is such an option.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] naming the option if its value is wrong.
    pub fn set(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<bool> {
        let mount = &mut self.mount;
        let name = |value: &[u8], what| {
            BranchName::new(value).map(Some).ok_or(Error::InvalidArgument(what))
        };
        match (key, value) {
            (b"phys", Some(value)) => {
                self.phys =
                    Some(parse_number(value).ok_or(Error::InvalidArgument("phys= is no number"))?);
            }
            (b"size", Some(value)) => {
                self.size = Some(
                    parse_size(value)
                        .ok_or(Error::InvalidArgument("size= is no number of bytes"))?,
                );
            }
            (b"branch", Some(value)) => {
                mount.branch = name(value, "branch= is no name for a branch")?
            }
            (b"parent", Some(value)) => {
                mount.parent = name(value, "parent= is no name for a branch")?
            }
            (b"name", Some(value)) => mount.name = name(value, "name= is no name")?,
            (b"persist", Some(b"none")) => self.persistence = Persistence::Volatile,
            (b"persist", Some(b"flush")) => self.persistence = Persistence::Persistent,
            (b"persist", Some(_)) => {
                return Err(Error::InvalidArgument("persist= is none or flush"));
            }
            (b"rw", None) => mount.access = Access::ReadWrite,
            (b"ro", None) => mount.access = Access::ReadOnly,
            (b"validate", None) => mount.validate = true,
            (b"keep", None) => mount.keep = true,
            (b"exclusive", None) => mount.exclusive = true,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// A number, decimal or hexadecimal with `0x`.
#[must_use]
pub fn parse_number(text: &[u8]) -> Option<u64> {
    let (digits, radix) = match text.strip_prefix(b"0x").or(text.strip_prefix(b"0X")) {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    if digits.is_empty() || digits.starts_with(b"+") {
        return None;
    }
    u64::from_str_radix(core::str::from_utf8(digits).ok()?, radix).ok()
}

/// A number of bytes: [`parse_number`] with an optional suffix K, M or G (powers of 1024).
#[must_use]
pub fn parse_size(text: &[u8]) -> Option<u64> {
    let (&last, number) = text.split_last()?;
    let shift = match last {
        b'k' | b'K' => 10,
        b'm' | b'M' => 20,
        b'g' | b'G' => 30,
        _ => return parse_number(text),
    };
    parse_number(number)?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_handover_example_parses() {
        let text = b"phys=0x100000000,size=256M,rw,branch=guest,parent=main,validate,keep";
        let parsed = MountOptions::parse(text).unwrap();
        assert_eq!(parsed.phys, Some(0x1_0000_0000));
        assert_eq!(parsed.size, Some(256 << 20));
        assert_eq!(parsed.mount.branch, BranchName::new(b"guest"));
        assert_eq!(parsed.mount.parent, Some(BranchName::main()));
        assert_eq!(parsed.mount.access, Access::ReadWrite);
        assert!(parsed.mount.validate && parsed.mount.keep);
    }

    #[test]
    fn nothing_means_read_only_main() {
        assert_eq!(MountOptions::parse(b"").unwrap(), ParsedOptions::default());
    }

    #[test]
    fn wrong_options_are_refused() {
        for text in [
            "phys",
            "phys=",
            "persist=",
            "phys=zz",
            "size=1X",
            "size=99999999999G",
            "branch=",
            "rw=1",
            "bogus",
        ] {
            let result = MountOptions::parse(text.as_bytes());
            assert!(matches!(result, Err(Error::InvalidArgument(_))), "{text}");
        }
    }

    #[test]
    fn sizes_take_suffixes() {
        assert_eq!(parse_size(b"4096"), Some(4096));
        assert_eq!(parse_size(b"0x10"), Some(16));
        assert_eq!(parse_size(b"64k"), Some(65536));
        assert_eq!(parse_size(b"1G"), Some(1 << 30));
        assert_eq!(parse_size(b"G"), None);
        assert_eq!(parse_size(b""), None);
    }
}

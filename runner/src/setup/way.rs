//! The ways to get things, and which of them are not to be used.

use super::{Result, SetupError};
use std::env;

/// The variable that names ways to skip.
const SKIP: &str = "DAXFS_SETUP_SKIP";

/// A way to get something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Way {
    SystemQemu,
    CachedQemu,
    DebianQemu,
    InstalledTarget,
    CachedTarget,
    Rustup,
    LocalRustSrc,
    DebianRustSrc,
    ToolchainLinker,
    SystemLinker,
    DebianLinker,
    SystemKernelTools,
    DebianKernelTools,
    SystemBindgen,
    CargoBindgen,
    SystemLibclang,
    DebianLibclang,
    SystemLlvm,
    DebianLlvm,
    DebianLinuxSource,
    DebianPackages,
}

impl Way {
    const ALL: [(&'static str, Self); 21] = [
        ("system-qemu", Self::SystemQemu),
        ("cached-qemu", Self::CachedQemu),
        ("debian-qemu", Self::DebianQemu),
        ("installed-target", Self::InstalledTarget),
        ("cached-target", Self::CachedTarget),
        ("rustup", Self::Rustup),
        ("local-rust-src", Self::LocalRustSrc),
        ("debian-rust-src", Self::DebianRustSrc),
        ("toolchain-linker", Self::ToolchainLinker),
        ("system-linker", Self::SystemLinker),
        ("debian-linker", Self::DebianLinker),
        ("system-kernel-tools", Self::SystemKernelTools),
        ("debian-kernel-tools", Self::DebianKernelTools),
        ("system-bindgen", Self::SystemBindgen),
        ("cargo-bindgen", Self::CargoBindgen),
        ("system-libclang", Self::SystemLibclang),
        ("debian-libclang", Self::DebianLibclang),
        ("system-llvm", Self::SystemLlvm),
        ("debian-llvm", Self::DebianLlvm),
        ("debian-linux-source", Self::DebianLinuxSource),
        ("debian-packages", Self::DebianPackages),
    ];
}

/// The ways that may be used.
#[derive(Clone, Default, Debug)]
pub(super) struct Ways {
    skipped: Vec<Way>,
}

impl Ways {
    /// As the environment says.
    pub(super) fn from_env() -> Result<Self> {
        Self::parse(&env::var(SKIP).unwrap_or_default())
    }

    fn parse(list: &str) -> Result<Self> {
        let words = list.split(',').map(str::trim).filter(|word| !word.is_empty());
        let skipped = words.map(|word| {
            let known = Way::ALL.iter().find(|(name, _)| *name == word);
            known.map(|&(_, way)| way).ok_or_else(|| SetupError::UnknownWay(word.to_owned()))
        });
        Ok(Self { skipped: skipped.collect::<Result<_>>()? })
    }

    pub(super) fn allow(&self, way: Way) -> bool {
        !self.skipped.contains(&way)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_ways_are_skipped_and_others_are_not() {
        let ways = Ways::parse("rustup, system-qemu").unwrap();
        assert!(!ways.allow(Way::Rustup));
        assert!(!ways.allow(Way::SystemQemu));
        assert!(ways.allow(Way::InstalledTarget));
        assert!(Ways::parse("").unwrap().allow(Way::Rustup));
    }

    #[test]
    fn a_word_that_is_no_way_is_an_error() {
        assert!(Ways::parse("rustup,qemu").unwrap_err().to_string().contains("'qemu'"));
    }
}

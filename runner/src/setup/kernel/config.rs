//! Kernel configurations.

use super::Flavour;
use crate::setup::Result;
use crate::setup::cache::failed;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// What the kernel has.
const PLAIN: &str = include_str!("../../../kernel/linux.config");

/// What the one that checks itself has besides.
const DEBUG: &str = include_str!("../../../kernel/debug.config");

/// Without these a tree that the user names is of no use.
const ESSENTIAL: [&str; 11] = [
    "CONFIG_64BIT",
    "CONFIG_SMP",
    "CONFIG_RUST",
    "CONFIG_MODULES",
    "CONFIG_PCI",
    "CONFIG_BLK_DEV_INITRD",
    "CONFIG_DEBUG_FS",
    "CONFIG_DEVTMPFS",
    "CONFIG_SERIAL_8250_CONSOLE",
    "CONFIG_VIRTIO_PCI",
    "CONFIG_VIRTIO_CONSOLE",
];

/// The settings of a kernel, as `KCONFIG_ALLCONFIG` takes them.
pub(super) fn fragment(flavour: Flavour) -> String {
    match flavour {
        Flavour::Plain => PLAIN.to_owned(),
        Flavour::Debug => format!("{PLAIN}\n{DEBUG}"),
    }
}

/// The first of these settings that nobody can do without.
pub(super) fn essential(settings: &[String]) -> Option<&String> {
    settings
        .iter()
        .find(|setting| setting.split_once('=').is_some_and(|(name, _)| ESSENTIAL.contains(&name)))
}

/// A configuration.
#[derive(Debug)]
pub(super) struct Config {
    values: BTreeMap<String, String>,
}

impl Config {
    /// That of a tree.
    pub(super) fn read(tree: &Path) -> Result<Self> {
        let path = tree.join(".config");
        let text = fs::read_to_string(&path).map_err(failed(&path, "read it"))?;
        Ok(Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
        let values = text.lines().filter_map(|line| {
            let (name, value) = line.split_once('=')?;
            name.starts_with("CONFIG_").then(|| (name.to_owned(), value.to_owned()))
        });
        Self { values: values.collect() }
    }

    /// The settings of a fragment that it does not have.
    pub(super) fn lacks(&self, fragment: &str) -> Vec<String> {
        let wanted = Self::parse(fragment).values;
        let has = |(name, value): &(String, String)| match self.values.get(name) {
            Some(have) => have == value,
            None => value == "n",
        };
        let lacking = wanted.into_iter().filter(|setting| !has(setting));
        lacking.map(|(name, value)| format!("{name}={value}")).collect()
    }

    /// The major version of the clang that it is for, if it is not for GCC.
    pub(super) fn clang(&self) -> Option<u32> {
        self.values.get("CONFIG_CC_IS_CLANG")?;
        let version: u32 = self.values.get("CONFIG_CLANG_VERSION")?.parse().ok()?;
        Some(version / 10_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_configuration_lacks_is_found() {
        let config = Config::parse("# CONFIG_A is not set\nCONFIG_B=y\nCONFIG_C=m\nCONFIG_D=2\n");
        assert!(config.lacks("CONFIG_A=n\nCONFIG_B=y\n# text\nCONFIG_D=2\n").is_empty());
        assert_eq!(config.lacks("CONFIG_A=y\nCONFIG_C=y"), ["CONFIG_A=y", "CONFIG_C=y"]);
    }

    #[test]
    fn the_compiler_of_a_configuration_is_known() {
        assert_eq!(Config::parse("CONFIG_CC_IS_GCC=y\nCONFIG_CLANG_VERSION=0").clang(), None);
        let clang = "CONFIG_CC_IS_CLANG=y\nCONFIG_CLANG_VERSION=190107";
        assert_eq!(Config::parse(clang).clang(), Some(19));
    }

    #[test]
    fn what_is_essential_is_in_the_configuration() {
        let settings = Config::parse("").lacks(&fragment(Flavour::Plain));
        for name in ESSENTIAL {
            assert!(settings.contains(&format!("{name}=y")), "{name}");
        }
        assert!(fragment(Flavour::Debug).contains("CONFIG_KASAN=y"));
    }
}

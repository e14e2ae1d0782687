//! Packages from where the machine's own apt gets them, without touching the system.
//!
//! The system's package lists are used as they are. Where they are missing, too old, or of the wrong
//! suite, private lists are made in the cache; the machine's configuration (its mirror, its proxy,
//! its keys) holds for these, too. No right to change the system is needed.

use super::cache::failed;
use super::tool::{QUESTION, Tool};
use super::{Cache, Report, Result, SetupError};
use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// How long lists may take.
const UPDATE: Duration = Duration::from_secs(5 * 60);

/// How long packages may take.
const DOWNLOAD: Duration = Duration::from_secs(30 * 60);

/// Settings for private lists: no hooks, which are about the system's; nothing but packages.
const SETTINGS: &str = r#"#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::IndexTargets::deb::DEP-11-icons-small::DefaultEnabled "false";
Acquire::IndexTargets::deb::DEP-11-icons::DefaultEnabled "false";
Acquire::IndexTargets::deb::CNF::DefaultEnabled "false";
APT::Update::Error-Mode "any";
Acquire::Retries "2";
Acquire::http::Timeout "30";
Acquire::https::Timeout "30";
"#;

/// Keyrings of distributions. A machine's own source may name its keyring, but apt does not tell.
const KEYRINGS: [&str; 4] = [
    "/usr/share/keyrings/debian-archive-keyring.gpg",
    "/usr/share/keyrings/debian-archive-keyring.pgp",
    "/usr/share/keyrings/ubuntu-archive-keyring.gpg",
    "/usr/share/keyrings/ubuntu-archive-keyring.pgp",
];

/// Whether packages are Debian's here.
pub(super) fn available() -> bool {
    ["apt-get", "apt-cache", "dpkg-deb"].iter().all(|program| which::which(program).is_ok())
}

/// A set of package lists.
#[derive(Clone, Default, Debug)]
pub(super) struct Apt {
    options: Vec<OsString>,
}

impl Apt {
    /// The system's lists, as they are.
    pub(super) fn system() -> Self {
        Self::default()
    }

    /// The lists of the machine's own sources, as they are now; and whether all could be had. If not,
    /// the one that matters may be there.
    pub(super) fn refreshed(cache: &Cache, report: &dyn Report) -> Result<(Self, Result<()>)> {
        report.step("getting lists of packages");
        let _lock = cache.lock("apt", report)?;
        let apt = Self::private(cache, "own")?;
        let updated = apt.update();
        Ok((apt, updated))
    }

    /// The lists of a suite of the machine's own mirror, as they are now.
    fn suite(cache: &Cache, mirror: &Mirror, suite: &str) -> Result<Self> {
        let mut apt = Self::private(cache, suite)?;
        let keyrings: Vec<_> =
            KEYRINGS.into_iter().filter(|path| Path::new(path).exists()).collect();
        let signed = match keyrings.as_slice() {
            [] => String::new(),
            keyrings => format!("[signed-by={}] ", keyrings.join(",")),
        };
        let sources = cache.folder("apt")?.join(suite).join("sources.list");
        let line = format!("deb {signed}{} {suite} main\n", mirror.uri);
        fs::write(&sources, line).map_err(failed(&sources, "write it"))?;
        apt.set("Dir::Etc::SourceList", &sources);
        apt.set("Dir::Etc::SourceParts", Path::new("/dev/null"));
        apt.update()?;
        Ok(apt)
    }

    fn private(cache: &Cache, name: &str) -> Result<Self> {
        let folder = cache.folder("apt")?.join(name);
        for part in ["lists/partial", "cache/archives/partial"] {
            let path = folder.join(part);
            fs::create_dir_all(&path).map_err(failed(&path, "make it"))?;
        }
        let settings = folder.join("apt.conf");
        fs::write(&settings, SETTINGS).map_err(failed(&settings, "write it"))?;
        let mut apt = Self { options: vec!["-c".into(), settings.into()] };
        apt.set("Dir::State::Lists", &folder.join("lists"));
        apt.set("Dir::Cache", &folder.join("cache"));
        Ok(apt)
    }

    fn set(&mut self, name: &str, value: &Path) {
        let mut option = OsString::from(format!("{name}="));
        option.push(value);
        self.options.extend(["-o".into(), option]);
    }

    fn tool(&self, program: &str, limit: Duration) -> Tool {
        // What it says is parsed.
        Tool::new(program, limit).env("LC_ALL", "C").args(&self.options)
    }

    fn update(&self) -> Result<()> {
        self.tool("apt-get", UPDATE).args(["-q", "update"]).run("apt-get update").map(drop)
    }

    /// The versions of a package that can be had.
    pub(super) fn versions(&self, package: &str) -> Result<Vec<String>> {
        let listed = self.tool("apt-cache", QUESTION).args(["madison", package]);
        let listed = listed.run("apt-cache madison")?;
        let version = |line: &str| Some(line.split('|').nth(1)?.trim().to_owned());
        Ok(listed.lines().filter_map(version).collect())
    }

    /// The name of the suite that does not change, while `stable` does.
    fn codename(&self) -> Option<String> {
        let tool = self.tool("apt-get", QUESTION).args(["indextargets", "--format", "$(CODENAME)"]);
        let listed = tool.arg("Created-By: Packages").run("apt-get indextargets").ok()?;
        listed.lines().find(|name| !name.is_empty()).map(str::to_owned)
    }

    /// These packages and what they depend on and the system lacks, each as `NAME=VERSION`.
    pub(super) fn missing(&self, packages: &[&str]) -> Result<Vec<String>> {
        let tool = self.tool("apt-get", QUESTION).args(["-q", "-o", "Debug::NoLocking=true"]);
        let tool = tool.args(["--simulate", "--no-install-recommends", "--reinstall", "install"]);
        let plan = tool.args(packages).run("apt-get --simulate install")?;
        Ok(plan.lines().filter_map(planned).collect())
    }

    /// Downloads packages, each given as `NAME=VERSION`.
    pub(super) fn download(&self, packages: &[String], to: &Path) -> Result<()> {
        let tool = self.tool("apt-get", DOWNLOAD).args(["-q", "download"]).args(packages);
        tool.folder(to).run("apt-get download").map(drop)
    }
}

/// Looks for something in the lists as the machine has them, then in those of other suites of its
/// mirror. `what` is for messages.
pub(super) fn search<T>(
    cache: &Cache,
    what: &str,
    report: &dyn Report,
    look: impl Fn(&Apt) -> Option<T>,
) -> Result<Option<(Apt, T)>> {
    let look = |apt: Apt| look(&apt).map(|found| (apt, found));
    if let Some(found) = look(Apt::system()) {
        return Ok(Some(found));
    }
    let mirror = Mirror::find(cache, report)?;
    let mut suites = VecDeque::from(mirror.suites());
    let mut tried = BTreeSet::new();
    while let Some(suite) = suites.pop_front() {
        if !tried.insert(suite.clone()) {
            continue;
        }
        report.step(&format!("looking for {what} ({suite})"));
        match Apt::suite(cache, &mirror, &suite) {
            Ok(apt) => {
                // A mirror may be late with a suite under one of its names.
                if let Some(name) = apt.codename() {
                    suites.push_front(name);
                }
                if let Some(found) = look(apt) {
                    return Ok(Some(found));
                }
            }
            // It has this one: it cannot be reached.
            Err(error) if tried.len() == 1 => return Err(error),
            // A mirror does not have all suites.
            Err(_) => {}
        }
    }
    Ok(None)
}

/// The package that a line of a plan is about, if it is to be unpacked:
/// `Inst NAME [OLD] (VERSION ORIGIN [ARCH])`.
fn planned(line: &str) -> Option<String> {
    let rest = line.strip_prefix("Inst ")?;
    let (name, rest) = rest.split_once(' ')?;
    let (version, _) = rest.split_once('(')?.1.split_once(' ')?;
    Some(format!("{name}={version}"))
}

/// The mirror that the machine's packages come from.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Mirror {
    uri: String,
    /// The suite that the machine is set up for.
    release: String,
}

impl Mirror {
    /// Asks apt.
    fn find(cache: &Cache, report: &dyn Report) -> Result<Self> {
        if let Some(mirror) = Self::of(&Apt::system())? {
            return Ok(mirror);
        }
        // Apt tells of sources only if it has their lists.
        let (apt, updated) = Apt::refreshed(cache, report)?;
        if let Some(mirror) = Self::of(&apt)? {
            return Ok(mirror);
        }
        updated?;
        let output = "apt has none".to_owned();
        Err(SetupError::Failed { what: "looking for package sources".to_owned(), output })
    }

    fn of(apt: &Apt) -> Result<Option<Self>> {
        let format = "$(REPO_URI) $(RELEASE) $(COMPONENT)";
        let tool = apt.tool("apt-get", QUESTION).args(["indextargets", "--format", format]);
        let listed = tool.arg("Created-By: Packages").run("apt-get indextargets")?;
        Ok(choose(&listed, os_release("VERSION_CODENAME").as_deref()))
    }

    /// Suites that a mirror may have besides, the likeliest first. The first one it has.
    fn suites(&self) -> Vec<String> {
        let release = &self.release;
        let mut suites = vec![release.clone()];
        suites.extend(["updates", "backports"].map(|kind| format!("{release}-{kind}")));
        let others: &[&str] = match os_release("ID").as_deref() {
            Some("ubuntu") => &["devel"],
            _ => &["stable-backports", "stable", "testing", "unstable", "oldstable-backports"],
        };
        suites.extend(others.iter().map(|&suite| suite.to_owned()));
        suites
    }
}

/// Of all sources the one that has the distribution itself.
fn choose(listed: &str, codename: Option<&str>) -> Option<Mirror> {
    let mains = listed.lines().filter_map(|line| {
        let [uri, release, "main"] = line.split(' ').collect::<Vec<_>>()[..] else { return None };
        Some(Mirror { uri: uri.to_owned(), release: release.to_owned() })
    });
    let mains: Vec<_> = mains.collect();
    let of_codename = mains.iter().find(|mirror| Some(&*mirror.release) == codename);
    of_codename.or_else(|| mains.iter().find(|mirror| !mirror.release.contains('-'))).cloned()
}

/// A value of the system's self-description.
pub(super) fn os_release(name: &str) -> Option<String> {
    let text = fs::read_to_string("/etc/os-release").ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
    Some(value.trim_matches(['"', '\'']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_to_unpack_are_read_from_a_plan() {
        let plan = "NOTE: simulation\n\
            Inst libfdt1 (1.6.1-4+b1 Debian:12.11/oldstable [amd64])\n\
            Inst libssl3 [3.0.1] (3.0.2-1 Debian-Security:12 [amd64]) []\n\
            Conf libfdt1 (1.6.1-4+b1 Debian:12.11/oldstable [amd64])\n";
        let packages: Vec<_> = plan.lines().filter_map(planned).collect();
        assert_eq!(packages, ["libfdt1=1.6.1-4+b1", "libssl3=3.0.2-1"]);
    }

    #[test]
    fn the_mirror_is_that_of_the_distribution() {
        let listed = "http://a/security/ twelve-security main\n\
            http://a/tools/ stable contrib\n\
            http://a/tools/ any main\n\
            http://a/distribution/ twelve main\n";
        let mirror = |uri: &str, release: &str| {
            Some(Mirror { uri: uri.to_owned(), release: release.to_owned() })
        };
        assert_eq!(choose(listed, Some("twelve")), mirror("http://a/distribution/", "twelve"));
        assert_eq!(choose(listed, None), mirror("http://a/tools/", "any"));
        assert_eq!(choose("", Some("twelve")), None);
    }
}

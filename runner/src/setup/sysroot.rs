//! A sysroot that holds nothing but the bare-metal target's crates, built from the library's source.
//!
//! The compiler takes crates from the sysroot that it is told of; everything else (its own libraries,
//! its linker) it finds beside itself. So neither does the user's toolchain change, nor is anything
//! of it copied.

use super::cache::failed;
use super::rustc::{Rustc, TARGET, cargo, no_rust};
use super::tool::Tool;
use super::{Cache, Lock, Result, SetupError, guest};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

/// How long a build may take, on a slow machine.
const BUILD: Duration = Duration::from_secs(15 * 60);

/// The name of the crate that is built so that its dependencies are.
const CRATE: &str = "nothing";

/// A sysroot's place in the cache.
pub(super) fn name(rustc: &Rustc) -> PathBuf {
    Path::new("sysroots").join(rustc.key())
}

/// Builds one. `source` is the `library` folder.
pub(super) fn build(cache: &Cache, lock: &Lock, rustc: &Rustc, source: &Path) -> Result<PathBuf> {
    let staging = cache.staging(lock)?;
    let made = staging.path().join("made");
    let crates = made.join("lib/rustlib").join(TARGET).join("lib");
    fs::create_dir_all(&crates).map_err(failed(&crates, "make it"))?;
    let target = staging.path().join("target");
    compile(rustc, source, staging.path(), &target)?;
    copy_crates(&target.join(TARGET), &crates).map_err(failed(&crates, "copy crates to it"))?;
    if !rustc.has_target(&made) {
        let output = "the compiler does not accept the crates".to_owned();
        return Err(SetupError::Failed { what: format!("building {TARGET}"), output });
    }
    cache.publish(lock, &made, &name(rustc))
}

/// Has cargo build an empty crate, together with the library's crates that it needs.
fn compile(rustc: &Rustc, source: &Path, folder: &Path, target: &Path) -> Result<()> {
    let failed_here = |reason| failed(folder, "write to it")(reason);
    // Cargo looks for the source in the compiler's sysroot. It is shown one in which the source is,
    // through a compiler that says so.
    let shown = folder.join("shown");
    let rustlib = shown.join("lib/rustlib");
    (|| {
        fs::create_dir_all(rustlib.join("src/rust"))?;
        std::os::unix::fs::symlink(source, rustlib.join("src/rust/library"))?;
        let host = rustc.sysroot.join("lib/rustlib").join(&rustc.host);
        std::os::unix::fs::symlink(host, rustlib.join(&rustc.host))?;
        let package = format!(
            "[package]\nname = \"{CRATE}\"\nedition = \"2021\"\n\n[lib]\npath = \"lib.rs\"\n\n[workspace]\n"
        );
        fs::write(folder.join("Cargo.toml"), package)?;
        fs::write(folder.join("lib.rs"), "#![no_std]\n")?;
        let compiler = "#!/bin/sh\nexec \"$DAXFS_RUSTC\" --sysroot \"$DAXFS_SYSROOT\" \"$@\"\n";
        script(&folder.join("compiler"), compiler)
    })()
    .map_err(failed_here)?;
    // As in the crates that rustup installs: code for link-time optimisation, and no paths of here.
    let remap = format!("--remap-path-prefix={}=/rustc", rustlib.join("src/rust").display());
    let tool = Tool::new(cargo(), BUILD).change(guest::clean_environment);
    let tool = tool.args(["build", "--release", "--target", TARGET, "--color", "never"]);
    let tool = tool.args(["-Zbuild-std=core,alloc"]);
    let tool = tool.args(["-Zbuild-std-features=compiler-builtins-mem"]);
    let tool = tool.arg("--target-dir").arg(target).folder(folder);
    let tool = tool.env("RUSTC", folder.join("compiler"));
    let tool = tool.env("DAXFS_RUSTC", rustc.program()).env("DAXFS_SYSROOT", &shown);
    let tool = tool.env("CARGO_ENCODED_RUSTFLAGS", format!("-Cembed-bitcode=yes\x1f{remap}"));
    // A stable cargo has no other way to build these crates.
    let tool = tool.env("RUSTC_BOOTSTRAP", "1");
    tool.run(&format!("building {TARGET}")).map(drop).map_err(no_rust)
}

fn script(path: &Path, text: &str) -> io::Result<()> {
    fs::write(path, text)?;
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755))
}

/// Copies the library's crates out of cargo's target folder, wherever cargo puts them in it.
fn copy_crates(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_crates(&path, to)?;
        } else if let Some(name) = name.to_str()
            && name.ends_with(".rlib")
            && !name.starts_with(&format!("lib{CRATE}"))
        {
            fs::copy(&path, to.join(name))?;
        }
    }
    Ok(())
}

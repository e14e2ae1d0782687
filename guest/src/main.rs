//! The guest kernel image. On the host there is nothing to run: the image is built for
//! `x86_64-unknown-none` and started by QEMU, by a boot loader or by another kernel.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod kernel;

#[cfg(not(target_os = "none"))]
fn main() -> std::process::ExitCode {
    eprintln!(
        "daxfs-guest is a kernel image: build it with --target x86_64-unknown-none, or run it with \
         `cargo run -p runner`"
    );
    std::process::ExitCode::FAILURE
}

//! Linker arguments of the kernel image. They are emitted here, not in a Cargo configuration file,
//! because `RUSTFLAGS` in the environment would override that.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        // PVH loads an image where it is linked: above the first megabyte, below the stack of
        // whatever firmware there is.
        println!("cargo::rustc-link-arg-bins=--image-base=0x200000");
        // The entry address in the PVH note is a relocation of a position-independent image; its
        // value must stand in the file.
        println!("cargo::rustc-link-arg-bins=--apply-dynamic-relocs");
    }
}

//! Links the program where EL0 programs go (pagers/runtime/user.ld).

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        let script = std::env::var("DEP_PVMACH_RUNTIME_SCRIPT").expect("`runtime` tells it");
        println!("cargo::rustc-link-arg-bins=-T{script}");
        println!("cargo::rustc-link-arg-bins=-zmax-page-size=4096");
        println!("cargo::rerun-if-changed={script}");
    }
}

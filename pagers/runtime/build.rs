//! Tells the build scripts of programs where the link script is: they read `DEP_PVMACH_RUNTIME_SCRIPT`.

fn main() {
    let folder = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    println!("cargo::metadata=script={folder}/user.ld");
    println!("cargo::rerun-if-changed=user.ld");
}

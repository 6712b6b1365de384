//! Writes the corpus of every target to `corpus/TARGET/`, for libFuzzer to begin with.

use std::path::Path;

fn main() -> std::io::Result<()> {
    for target in nbd::fuzz::TARGETS {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name);
        std::fs::create_dir_all(&directory)?;
        for (number, input) in (target.corpus)().iter().enumerate() {
            std::fs::write(directory.join(format!("seed-{number}")), input)?;
        }
    }
    Ok(())
}

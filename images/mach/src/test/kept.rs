//! What another server has kept of the guest's pages, seen in its file after a run: with `--seal`, none that pagebench wrote may be
//! there in plain; without, they must be, or looking for them proves nothing.

use anyhow::{Context, Result};
use std::fs::File;
use std::io::Read;
use std::path::Path;

const PAGE: usize = 4096;
/// From one word of pagebench's pattern to the next (images/programs/src/pagebench/pattern.rs).
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// Fewer pages than this say nothing.
const LEAST: u64 = 256;

/// The pages of one file.
#[derive(Debug, Default, PartialEq, Eq)]
struct Kept {
    /// Not all zero.
    written: u64,
    /// As pagebench wrote them.
    plain: u64,
}

/// What is wrong with the pages in the file of a server that takes no trims, if anything is.
pub(crate) fn wrong(path: &Path, sealed: bool) -> Result<Option<String>> {
    let Kept { written, plain } = look(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(match sealed {
        _ if written < LEAST => Some(format!("the server has kept {written} pages only")),
        true if plain > 0 => Some(format!("{plain} of {written} pages that the server has kept are not sealed")),
        false if plain == 0 => Some(format!("none of {written} pages that the server has kept is one that the guest wrote")),
        _ => None,
    })
}

fn look(path: &Path) -> Result<Kept> {
    let mut file = File::open(path)?;
    let mut kept = Kept::default();
    let mut page = [0; PAGE];
    for _ in 0..file.metadata()?.len() / PAGE as u64 {
        file.read_exact(&mut page)?;
        kept.written += u64::from(page != [0; PAGE]);
        kept.plain += u64::from(is_plain(&page));
    }
    Ok(kept)
}

fn is_plain(page: &[u8; PAGE]) -> bool {
    let (words, _) = page.as_chunks::<8>();
    words.windows(2).all(|pair| u64::from_le_bytes(pair[1]).wrapping_sub(u64::from_le_bytes(pair[0])) == STEP)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(first: u64, step: u64) -> Vec<u8> {
        (0..PAGE as u64 / 8).flat_map(|word| first.wrapping_add(step.wrapping_mul(word)).to_le_bytes()).collect()
    }

    #[test]
    fn plain_pages_are_found_among_others() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let judge = |first: Vec<u8>, others: Vec<u8>, sealed| {
            std::fs::write(file.path(), [first, others.repeat(LEAST as usize)].concat()).unwrap();
            wrong(file.path(), sealed).unwrap().unwrap_or_default()
        };
        let (zero, plain, cipher) = (page(0, 0), page(77, STEP), page(77, STEP ^ 8));
        assert_eq!(judge(zero.clone(), cipher.clone(), true), "");
        assert!(judge(plain.clone(), cipher.clone(), true).contains("1 of 257 pages"));
        assert_eq!(judge(plain.clone(), cipher.clone(), false), "");
        assert!(judge(zero.clone(), cipher, false).contains("none of 256 pages"));
        assert!(judge(plain, zero, true).contains("1 pages only"));
        assert!(wrong(Path::new("no-such-file"), true).is_err());
    }
}

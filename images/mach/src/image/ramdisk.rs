//! The ramdisk: a plain ustar archive with the boot manifest, the programs it names, and what else the programs read.
//!
//! The kernel finds it as the initrd, starts `bootstrap` from it, and bootstrap reads `manifest`. The same input gives the
//! same bytes: no times, no owners, a fixed order.

use anyhow::{Context, Result, bail};
use std::path::Path;

/// The task that the kernel starts; always in the archive.
pub(crate) const BOOTSTRAP: &str = "bootstrap";
/// The name of the boot manifest in the archive.
const MANIFEST: &str = "manifest";

/// A file that a program reads, as the network pager reads certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DataFile {
    /// Its path in the archive.
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
}

/// The archive with `manifest`, from the folder `programs` bootstrap and every program named, and the data.
pub(crate) fn pack(manifest: &str, programs: &Path, names: &[&str], data: &[DataFile]) -> Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    append(&mut archive, MANIFEST, manifest.as_bytes(), 0o444)?;
    let mut packed = Vec::new();
    for name in [BOOTSTRAP].iter().chain(names) {
        if packed.contains(name) {
            continue;
        }
        packed.push(*name);
        append(&mut archive, name, &program(programs, name)?, 0o555)?;
    }
    for file in data {
        if file.name == MANIFEST || packed.contains(&file.name.as_str()) {
            bail!("`{}` would be in the ramdisk twice", file.name);
        }
        append(&mut archive, &file.name, &file.bytes, 0o400)?;
    }
    archive.into_inner().context("cannot write the ramdisk")
}

fn program(programs: &Path, name: &str) -> Result<Vec<u8>> {
    if name == MANIFEST || name.contains('/') {
        bail!("`{name}` cannot be the name of a program");
    }
    let path = programs.join(name);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(_) => bail!("there is no program `{name}`: no guest crate builds {}", path.display()),
    };
    if !bytes.starts_with(b"\x7fELF") {
        bail!("the program {} is not an ELF file", path.display());
    }
    Ok(bytes)
}

fn append(archive: &mut tar::Builder<Vec<u8>>, name: &str, bytes: &[u8], mode: u32) -> Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_size(bytes.len() as u64);
    header.set_mode(mode);
    header.set_mtime(0);
    archive.append_data(&mut header, name, bytes).with_context(|| format!("cannot pack `{name}` into the ramdisk"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in ["bootstrap", "pagebench", "unused"] {
            std::fs::write(folder.path().join(name), format!("\x7fELF {name}")).unwrap();
        }
        std::fs::write(folder.path().join("script"), "#!/bin/sh").unwrap();
        folder
    }

    fn data(name: &str, text: &str) -> DataFile {
        DataFile { name: name.to_owned(), bytes: text.into() }
    }

    #[test]
    fn data_cannot_replace_what_is_booted() {
        let folder = folder();
        for name in ["manifest", "bootstrap", "pagebench"] {
            let refused = pack("", folder.path(), &["pagebench"], &[data(name, "x")]).unwrap_err().to_string();
            assert!(refused.contains("twice"), "{refused}");
        }
    }

    #[test]
    fn the_archive_holds_the_manifest_bootstrap_each_program_once_and_the_data() {
        let folder = folder();
        let bytes = pack("run a pagebench\n", folder.path(), &["pagebench", "pagebench"], &[data("tls/ca-cert.pem", "trust me")]).unwrap();
        let mut found = Vec::new();
        for entry in tar::Archive::new(&bytes[..]).entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            found.push((entry.path().unwrap().display().to_string(), text));
        }
        let expected = [
            ("manifest", "run a pagebench\n"),
            ("bootstrap", "\x7fELF bootstrap"),
            ("pagebench", "\x7fELF pagebench"),
            ("tls/ca-cert.pem", "trust me"),
        ];
        assert_eq!(found, expected.map(|(name, text)| (name.to_owned(), text.to_owned())));
        assert_eq!(&bytes[257..263], b"ustar\0");
        assert_eq!(bytes.len() % 512, 0);
    }

    #[test]
    fn the_same_input_gives_the_same_bytes() {
        let folder = folder();
        assert_eq!(pack("m", folder.path(), &[], &[]).unwrap(), pack("m", folder.path(), &[], &[]).unwrap());
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let folder = folder();
        assert!(pack("", folder.path(), &["nowhere"], &[]).unwrap_err().to_string().contains("no program `nowhere`"));
        assert!(pack("", folder.path(), &["script"], &[]).unwrap_err().to_string().contains("not an ELF file"));
        assert!(pack("", folder.path(), &["../x"], &[]).unwrap_err().to_string().contains("cannot be the name"));
    }
}

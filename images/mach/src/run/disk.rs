//! The guest's disks: sparse files on the host, and disks that fail on purpose.
//!
//! Failing disks are QEMU's `blkdebug` driver: its rules count operations of one kind and, from a given number on, answer
//! every one with EIO.

use super::plan::Plan;
use crate::image::manifest::Manifest;
use crate::image::variables::Variables;
use crate::size;
use anyhow::{Context, Result, bail};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// A disk image, ready to be attached.
#[derive(Clone, Debug)]
pub(crate) struct DiskFile {
    pub(crate) serial: String,
    pub(crate) image: PathBuf,
    /// The rules of a disk that fails.
    pub(crate) failures: Option<PathBuf>,
}

/// Which operations fail, and after how many good ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DiskErrors {
    kind: Kind,
    after: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Read,
    Write,
}

/// One rule of the rules file for each good operation: a bound on its length.
const MOST_GOOD_OPERATIONS: u32 = 10_000;
/// Linux's and QEMU's number for "input/output error".
const EIO: u32 = 5;

impl FromStr for DiskErrors {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (kind, after) = text.split_once('@').context("write read@N or write@N")?;
        let kind = match kind {
            "read" => Kind::Read,
            "write" => Kind::Write,
            _ => bail!("`{kind}` is neither read nor write"),
        };
        let after = after.parse().with_context(|| format!("`{after}` is not a number of operations"))?;
        if after > MOST_GOOD_OPERATIONS {
            bail!("at most {MOST_GOOD_OPERATIONS} good operations can be counted");
        }
        Ok(Self { kind, after })
    }
}

impl DiskErrors {
    /// blkdebug's rules: each good operation moves the state one on (it starts at 1), in the last state all fail.
    fn rules(self) -> String {
        let event = match self.kind {
            Kind::Read => "read_aio",
            Kind::Write => "write_aio",
        };
        let mut rules = String::new();
        for state in 1..=self.after {
            let next = state + 1;
            let _ = write!(rules, "[set-state]\nevent = \"{event}\"\nstate = \"{state}\"\nnew_state = \"{next}\"\n\n");
        }
        let last = self.after + 1;
        let _ = write!(rules, "[inject-error]\nevent = \"{event}\"\nstate = \"{last}\"\nerrno = \"{EIO}\"\nonce = \"off\"\n");
        rules
    }
}

/// Makes the disks of a manifest in `folder`; the first one is the one that fails, if one is to.
pub(crate) fn create_all(plan: &Plan, manifest: &Manifest, variables: &Variables, folder: &Path) -> Result<Vec<DiskFile>> {
    if manifest.disks.is_empty() && plan.disk_errors.is_some() {
        bail!("--disk-errors: this manifest has no disk");
    }
    let mut disks = Vec::new();
    for disk in &manifest.disks {
        let bytes = match plan.disk_size {
            Some(bytes) => bytes,
            None => size::parse(&variables.expand(&disk.size)?).with_context(|| format!("the disk `{}`", disk.name))?,
        };
        let image = folder.join(format!("{}.img", disk.name));
        create_sparse(&image, bytes)?;
        let failures = match plan.disk_errors {
            Some(errors) if disks.is_empty() => Some(write_rules(errors, folder, &disk.name)?),
            _ => None,
        };
        disks.push(DiskFile { serial: disk.name.clone(), image, failures });
    }
    Ok(disks)
}

fn create_sparse(path: &Path, bytes: u64) -> Result<()> {
    let file = std::fs::File::create(path).with_context(|| format!("cannot make the disk {}", path.display()))?;
    file.set_len(bytes).with_context(|| format!("cannot make the disk {} {bytes} bytes long", path.display()))
}

fn write_rules(errors: DiskErrors, folder: &Path, name: &str) -> Result<PathBuf> {
    let path = folder.join(format!("{name}.blkdebug"));
    std::fs::write(&path, errors.rules()).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_count_the_good_operations_and_then_fail() {
        let rules = "write@2".parse::<DiskErrors>().unwrap().rules();
        assert_eq!(rules.matches("[set-state]").count(), 2);
        assert!(rules.contains("state = \"2\"\nnew_state = \"3\""), "{rules}");
        assert!(rules.ends_with("event = \"write_aio\"\nstate = \"3\"\nerrno = \"5\"\nonce = \"off\"\n"), "{rules}");
    }

    #[test]
    fn errors_from_the_start_need_no_counting() {
        let rules = "read@0".parse::<DiskErrors>().unwrap().rules();
        assert!(!rules.contains("set-state") && rules.contains("state = \"1\""), "{rules}");
    }

    #[test]
    fn what_cannot_be_counted_is_refused() {
        for text in ["", "read", "erase@1", "read@", "read@-1", "read@10001"] {
            assert!(text.parse::<DiskErrors>().is_err(), "`{text}` was taken");
        }
    }

    /// QEMU itself is the judge, where it is installed.
    #[test]
    fn qemu_fails_exactly_from_the_operation_said() {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("d.img");
        create_sparse(&image, 1 << 20).unwrap();
        let rules = write_rules("read@2".parse().unwrap(), folder.path(), "d").unwrap();
        let mut qemu_io = std::process::Command::new("qemu-io");
        let options = format!(
            "driver=raw,file.driver=blkdebug,file.config={},file.image.driver=file,file.image.filename={}",
            rules.display(),
            image.display()
        );
        qemu_io.arg("--image-opts").args(["-c", "read 0 4k", "-c", "write 0 4k", "-c", "read 0 4k", "-c", "read 8k 4k"]);
        let Ok(output) = qemu_io.arg(options).output() else {
            eprintln!("skipped: no qemu-io on PATH");
            return;
        };
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert_eq!(text.matches("read 4096/4096").count(), 2, "{text}");
        assert_eq!(text.matches("wrote 4096/4096").count(), 1, "{text}");
        assert_eq!(text.matches("read failed: Input/output error").count(), 1, "{text}");
    }

    #[test]
    fn disks_are_sparse_and_as_long_as_said() {
        let folder = tempfile::tempdir().unwrap();
        let text = "summary='s'\n[[disk]]\nname='swap'\nsize='${working_set_x2}'\n[[run]]\nprogram='p'\n";
        let manifest = Manifest::parse(text).unwrap();
        let mut plan = Plan::new(&super::super::plan::tests::options("--memory 64").guest, &manifest).unwrap();
        let disks = create_all(&plan, &manifest, &plan.variables(), folder.path()).unwrap();
        assert_eq!(disks[0].image.metadata().unwrap().len(), 512 << 20);
        plan.disk_size = Some(8 << 20);
        create_all(&plan, &manifest, &plan.variables(), folder.path()).unwrap();
        assert_eq!(disks[0].image.metadata().unwrap().len(), 8 << 20);
    }
}

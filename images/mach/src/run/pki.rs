//! Certificates: an authority for one run, made by `netpager-host pki`, and the files that the guest finds in its ramdisk.
//!
//! The names of the files are those that nbdkit, qemu and libnbd use, so any bundle of theirs can be handed to the guest too.

use crate::image::ramdisk::DataFile;
use anyhow::{Context, Result, bail};
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The folder of the ramdisk that has the guest's files.
pub(crate) const RAMDISK_FOLDER: &str = "tls";

const AUTHORITY: &str = "ca-cert.pem";
const REVOKED: &str = "ca-crl.pem";
const CERTIFICATE: &str = "client-cert.pem";
const KEY: &str = "client-key.pem";

/// What was made for a run.
#[derive(Debug)]
pub(crate) struct Bundles {
    pub(crate) host: PathBuf,
    pub(crate) guest: PathBuf,
}

/// An authority in `folder`, a bundle for a host at `address`, as the guest sees it, and one for the guest.
pub(crate) fn make(program: &Path, address: Ipv4Addr, folder: &Path) -> Result<Bundles> {
    let directory = folder.join("pki");
    let call = |words: &[&str]| pki(program, &directory, words);
    call(&["init", "--days", "1"])?;
    call(&["issue", "host", "--server", "--days", "1", "--san", &format!("ip:{address}")])?;
    call(&["issue", "guest", "--days", "1"])?;
    Ok(Bundles { host: directory.join("host"), guest: directory.join("guest") })
}

fn pki(program: &Path, directory: &Path, words: &[&str]) -> Result<()> {
    let mut command = Command::new(program);
    command.args([OsStr::new("pki"), OsStr::new("--directory"), directory.as_os_str()]).args(words).stdin(Stdio::null());
    let output = command.output().with_context(|| format!("cannot run {}", program.display()))?;
    if !output.status.success() {
        bail!("netpager-host pki {}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// The guest's files of a bundle, as the ramdisk has them.
pub(crate) fn guest_files(bundle: &Path) -> Result<Vec<DataFile>> {
    let read = |name: &str| match std::fs::read(bundle.join(name)) {
        Ok(bytes) => Ok(Some(DataFile { name: format!("{RAMDISK_FOLDER}/{name}"), bytes })),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", bundle.join(name).display())),
    };
    let (certificate, key) = (read(CERTIFICATE)?, read(KEY)?);
    if certificate.is_some() != key.is_some() {
        bail!("{} has one of {CERTIFICATE} and {KEY}: both or none", bundle.display());
    }
    let authority = read(AUTHORITY)?.with_context(|| format!("{} has no {AUTHORITY}: whom should the guest trust?", bundle.display()))?;
    Ok([Some(authority), certificate, key, read(REVOKED)?].into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::super::fakes::script;
    use super::*;

    #[test]
    fn an_authority_and_two_bundles_are_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let body = format!("echo \"$@\" >> '{}/calls'\n", folder.path().display());
        let program = script(folder.path(), "netpager-host", &body);
        let bundles = make(&program, Ipv4Addr::new(10, 0, 2, 2), folder.path()).unwrap();
        let directory = folder.path().join("pki");
        assert_eq!((bundles.host, bundles.guest), (directory.join("host"), directory.join("guest")));
        let calls = std::fs::read_to_string(folder.path().join("calls")).unwrap();
        let expected = format!(
            "pki --directory {0} init --days 1\npki --directory {0} issue host --server --days 1 --san ip:10.0.2.2\n\
             pki --directory {0} issue guest --days 1\n",
            directory.display()
        );
        assert_eq!(calls, expected);
        let refusing = script(folder.path(), "refusing", "echo no room >&2\nexit 1\n");
        let error = make(&refusing, Ipv4Addr::LOCALHOST, folder.path()).unwrap_err().to_string();
        assert!(error.contains("pki init") && error.contains("no room"), "{error}");
    }

    #[test]
    fn a_bundle_has_an_authority_and_both_halves_of_a_client_or_none() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str| std::fs::write(folder.path().join(name), name).unwrap();
        let names = || guest_files(folder.path()).map(|files| files.into_iter().map(|file| file.name).collect::<Vec<_>>());
        assert!(names().unwrap_err().to_string().contains("no ca-cert.pem"));
        put("ca-cert.pem");
        put("server-key.pem");
        assert_eq!(names().unwrap(), ["tls/ca-cert.pem"], "the server's key is not the guest's business");
        put("client-cert.pem");
        assert!(names().unwrap_err().to_string().contains("both or none"));
        put("client-key.pem");
        put("ca-crl.pem");
        assert_eq!(names().unwrap(), ["tls/ca-cert.pem", "tls/client-cert.pem", "tls/client-key.pem", "tls/ca-crl.pem"]);
    }
}

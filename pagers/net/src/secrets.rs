//! What a guest needs to keep secrets: randomness, the time of day, and the files that say whom to trust.
//!
//! The kernel has the first two as devices (`random`, `rtc0`), if the machine has them; the files are in the initial ramdisk, under the names that nbdkit
//! and qemu-nbd use too. What is missing is an error that says so: there is no weaker way that is taken in silence.

use alloc::format;
use alloc::string::String;
use core::sync::atomic::{AtomicU64, Ordering};

use abi::Code;
use abi::call::device::{D_READ, RTC_SECONDS};
use runtime::device::Device;
use runtime::ramdisk::Ramdisk;
use runtime::{SendRight, time};
use tar_no_std::TarArchiveRef;
use tls::credentials::{CA_FILE, CERTIFICATE_FILE, CRL_FILE, KEY_FILE};
use tls::{Credentials, Files, random};

use crate::config::TlsWords;

const NS_PER_SECOND: u64 = 1_000_000_000;

/// Seconds since 1970 when this task's time began; 0 while that isn't known.
static EPOCH: AtomicU64 = AtomicU64::new(0);

/// Seeds the generator from the kernel's.
pub fn seed(master: &SendRight) -> Result<(), Code> {
    let bytes = Device::open(master, "random", D_READ)?.read_inband(0, random::SEED as u32)?;
    random::seed(bytes.as_slice().try_into().map_err(|_| Code::D_IO_ERROR)?);
    Ok(())
}

/// Learns what time it is: from the machine's clock, or from whoever started this guest.
pub fn set_clock(master: &SendRight, told: Option<u64>) -> Result<(), String> {
    let now = match told {
        Some(seconds) => seconds,
        None => seconds(master).map_err(|code| {
            format!(
                "device `rtc0`: {code}; without a clock no certificate can be checked: clock=SECONDS says how many have passed since 1970"
            )
        })?,
    };
    EPOCH.store(now.saturating_sub(time::now_ns() / NS_PER_SECOND), Ordering::Relaxed);
    Ok(())
}

fn seconds(master: &SendRight) -> Result<u64, Code> {
    match Device::open(master, "rtc0", D_READ)?.status(RTC_SECONDS, 2)?[..] {
        [low, high] => Ok(u64::from(low) | u64::from(high) << 32),
        _ => Err(Code::D_INVALID_SIZE),
    }
}

fn clock() -> u64 {
    EPOCH.load(Ordering::Relaxed) + time::now_ns() / NS_PER_SECOND
}

/// Reads the files. The ramdisk isn't mapped any longer than that: the pager's memory is wired.
pub fn credentials(master: &SendRight, words: &TlsWords, server: &str) -> Result<Credentials, String> {
    let ramdisk = Ramdisk::open(master).map_err(|code| format!("the ramdisk: {code}"))?;
    credentials_from(&ramdisk, words, server)
}

fn credentials_from(ramdisk: &[u8], words: &TlsWords, server: &str) -> Result<Credentials, String> {
    let archive = TarArchiveRef::new(ramdisk).map_err(|_| String::from("the ramdisk is no tar archive"))?;
    let directory = words.certificates.trim_end_matches('/');
    let file = |name: &str| {
        let wanted = format!("{directory}/{name}");
        let is_it = |found: &str| found.strip_prefix("./").unwrap_or(found) == wanted;
        archive.entries().find(|entry| entry.filename().as_str().is_ok_and(is_it)).map(|entry| entry.data())
    };
    let needed = |name: &str| file(name).ok_or_else(|| format!("the ramdisk has no file {directory}/{name}"));
    let client = match (file(CERTIFICATE_FILE), file(KEY_FILE)) {
        (None, None) => None,
        _ => Some((needed(CERTIFICATE_FILE)?, needed(KEY_FILE)?)),
    };
    let files = Files { ca: needed(CA_FILE)?, crl: file(CRL_FILE), client };
    let name = words.hostname.as_deref().unwrap_or(server);
    Credentials::new(&files, name, clock).map_err(|why| format!("{directory}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::credentials_from;
    use crate::config::TlsWords;

    fn archive(files: &[(&str, &str)]) -> Vec<u8> {
        let mut archive = Vec::new();
        for (name, text) in files {
            let mut header = [0; 512];
            let mut put = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
            put(0, name.as_bytes());
            put(100, b"0000644\0");
            put(124, format!("{:011o}\0", text.len()).as_bytes());
            put(148, b"        ");
            put(156, b"0");
            put(257, b"ustar\x0000");
            let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
            header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            archive.extend(header);
            archive.extend(text.bytes());
            archive.resize(archive.len().next_multiple_of(512), 0);
        }
        archive.resize(archive.len() + 1024, 0);
        archive
    }

    #[test]
    fn files_that_are_missing_are_named() {
        let words = TlsWords { certificates: "keys/".into(), hostname: Some("host".into()) };
        let error = |files: &[(&str, &str)]| credentials_from(&archive(files), &words, "10.0.2.2").unwrap_err();
        assert_eq!(error(&[("manifest", "run")]), "the ramdisk has no file keys/ca-cert.pem");
        assert_eq!(error(&[("./keys/ca-cert.pem", "x"), ("keys/client-key.pem", "x")]), "the ramdisk has no file keys/client-cert.pem");
        assert_eq!(error(&[("keys/ca-cert.pem", "x")]), "keys: ca-cert.pem: there is no certificate in it");
        assert!(credentials_from(&[0; 100], &words, "10.0.2.2").is_err());
    }
}

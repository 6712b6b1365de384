//! Stand-ins in tests: small shell scripts for QEMU and netpager-host, and a guest of fourteen instructions for the real QEMU.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// An arm64 Image that writes `text` to the PL011 and powers off by PSCI, from EL1 or EL2.
pub(crate) fn tiny_kernel(text: &str) -> Vec<u8> {
    const HEADER: [u32; 16] = [0x1400_0010, 0, 0, 0, 0x1000, 0, 0xa, 0, 0, 0, 0, 0, 0, 0, 0x644d_5241, 0];
    const CODE: [u32; 14] = [
        0xd2a1_2001, // mov  x1, #0x09000000: the UART of QEMU's virt machine
        0x1000_01a2, // adr  x2, text
        0x3840_1443, // ldrb w3, [x2], #1
        0x3400_0063, // cbz  w3, off
        0xb900_0023, // str  w3, [x1]
        0x17ff_fffd, // b    the next character
        0x5280_0100, // mov  w0, #0x8: off: PSCI's SYSTEM_OFF
        0x72b0_8000, // movk w0, #0x8400, lsl #16
        0xd538_4244, // mrs  x4, CurrentEL
        0xf100_209f, // cmp  x4, #8
        0x5400_0040, // b.eq smc
        0xd400_0002, // hvc  #0: at EL1
        0xd400_0003, // smc  #0: at EL2
        0x1400_0000, // b    .
    ];
    let code = HEADER.iter().chain(&CODE).flat_map(|word| word.to_le_bytes());
    code.chain(text.bytes()).chain([0]).collect()
}

/// An executable script.
pub(crate) fn script(folder: &Path, name: &str, body: &str) -> PathBuf {
    let path = folder.join(name);
    // Written and closed by a child: this process has other threads that fork, and a writable descriptor in one of their
    // children would make the script "text file busy".
    std::fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o755).open(&path).unwrap();
    let mut writer = Command::new("tee").arg(&path).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    writer.stdin.take().unwrap().write_all(format!("#!/bin/sh\n{body}").as_bytes()).unwrap();
    assert!(writer.wait().unwrap().success());
    path
}

//! What is no stream: addresses, and the superblock.

use alloc::string::ToString;

use crate::superblock::{Attachment, SUPERBLOCK_BYTES, Superblock, SuperblockPage};
use crate::uri::NbdUri;

/// Also promises: what can be read is written in ASCII, and what is written reads back as the same.
pub fn uri(data: &[u8]) {
    let Ok(text) = core::str::from_utf8(data) else { return };
    match text.parse::<NbdUri>() {
        Ok(uri) => {
            let written = uri.to_string();
            assert!(written.is_ascii());
            assert_eq!(written.parse::<NbdUri>(), Ok(uri), "{written}");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Also promises: what can be read is what would be written, so that nothing is accepted that no pager wrote.
pub fn superblock(data: &[u8]) {
    let mut page: SuperblockPage = [0; SUPERBLOCK_BYTES];
    let length = data.len().min(page.len());
    page[..length].copy_from_slice(&data[..length]);
    match Superblock::decode(&page) {
        Ok(None) => assert!(page.iter().all(|&byte| byte == 0)),
        Ok(Some(found)) => {
            let mut written = [0; SUPERBLOCK_BYTES];
            found.encode(&mut written);
            assert_eq!(Superblock::decode(&written), Ok(Some(found)));
            assert_eq!(Superblock::attach(&page, &found.boot_id), Ok(Attachment::Ours(found)));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

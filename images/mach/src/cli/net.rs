//! The options of `./mach run` for the network pager: who keeps the pages, and what keeps them secret.
//!
//! What they come to, and which of them exclude each other, is decided in `run::net`.

use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// On each option, not on all: a heading for all would be one for the launcher's next options too.
const HEADING: &str = "Network pager";

#[derive(Clone, Debug, Default, Args)]
pub(crate) struct NetOptions {
    /// Encrypt the connection (TLS 1.3), with certificates made for this run
    ///
    /// The run makes an authority and a bundle for each side by `netpager-host pki`, puts the guest's into the ramdisk
    /// (folder `tls`), and starts netpager-host such that it takes nobody without a certificate of that authority.
    #[arg(help_heading = HEADING, long)]
    pub(crate) tls: bool,

    /// Let the guest seal its pages: the server keeps ciphertext, and a changed or older page is a memory error
    #[arg(help_heading = HEADING, long, value_name = "HOW")]
    pub(crate) seal: Option<SealChoice>,

    /// Let a server that is already running keep the pages, ours or another: `ADDRESS:PORT`, IPv4 or a name
    ///
    /// Its export must have the name and at least the size that the manifest gives (`./mach image net` prints both). An
    /// address of this machine's own loopback is reached through the link's gateway. For example:
    ///
    ///   nbdkit -f -i 127.0.0.1 -p 10809 memory 512M
    ///   ./mach run net --server 127.0.0.1:10809
    ///
    ///   qemu-img create -f raw pages.img 512M
    ///   qemu-nbd -t -e 8 -b 127.0.0.1 -p 10810 -x memory -f raw pages.img
    ///   ./mach run net --server 127.0.0.1:10810
    #[arg(help_heading = HEADING, long, value_name = "ADDRESS:PORT", verbatim_doc_comment)]
    pub(crate) server: Option<String>,

    /// Speak TLS to the --server: a folder with ca-cert.pem and, if the server asks who we are, client-cert.pem and client-key.pem
    ///
    /// A ca-crl.pem in it says which certificates were taken back. The server's certificate must name what --server says. For example:
    ///
    ///   netpager-host pki init && netpager-host pki issue localhost --server && netpager-host pki issue guest
    ///   netpager-host serve --listen nbds://127.0.0.1:10809 --tls-certificates pki/localhost --export memory=512M
    ///   ./mach run net --server localhost:10809 --certificates pki/guest
    #[arg(help_heading = HEADING, long, value_name = "FOLDER", verbatim_doc_comment)]
    pub(crate) certificates: Option<PathBuf>,

    /// Take the --server's export although another guest or boot has used it: what it holds is lost
    #[arg(help_heading = HEADING, long)]
    pub(crate) take_foreign: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SealChoice {
    /// Every page but those that are all zero
    Yes,
    /// Every page: the server does not learn which ones are zero
    Full,
}

impl SealChoice {
    /// The pager's word for it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Yes => "seal=yes",
            Self::Full => "seal=full",
        }
    }
}

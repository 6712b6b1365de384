//! `netpager-host pki`: makes the certificates that the service and its clients show each other.
//!
//! A small authority in a directory, for those who have none. There is no database: what was issued is a directory of
//! certificates, what was revoked is the revocation list itself. The service never needs the authority's key; keep its
//! directory on another machine if you can.
//!
//! | file | what it holds |
//! |---|---|
//! | `args` | the command line |
//! | `authority` | [`Authority`]: signs certificates and the revocation list |
//! | `request` | [`Request`]: what a certificate is to say, checked |
//! | `write` | files that appear whole, are never overwritten, and are nobody else's business |

mod args;
mod authority;
mod request;
mod write;

use std::io;
use std::path::PathBuf;

use thiserror::Error;

pub use args::{Pki, run};
pub use authority::{Authority, Issued, Revocation, Standing};
pub use request::{Alternative, Request, Role};

use crate::tls::TlsError;

/// What went wrong while making certificates.
#[derive(Debug, Error)]
pub enum PkiError {
    /// A file cannot be read or written.
    #[error("{}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It is there already.
    #[error("{} is already there and is not overwritten", .0.display())]
    Exists(PathBuf),
    /// There is no authority.
    #[error("{} holds no authority; make one with `netpager-host pki init`", .0.display())]
    NoAuthority(PathBuf),
    /// A file of the authority cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A file of the authority is damaged.
    #[error("{}: {problem}", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// What was asked for cannot be.
    #[error("{0}")]
    Request(String),
    /// Nothing was issued under that name.
    #[error("no certificate that is still good has the name or number `{0}`; see `netpager-host pki list`")]
    Unknown(String),
    /// The cryptography failed.
    #[error("cannot sign: {0}")]
    Signing(#[from] rcgen::Error),
    /// The output cannot be written.
    #[error("output: {0}")]
    Output(#[source] io::Error),
}

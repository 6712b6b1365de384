//! Commands that ask a running service: `status`, `export` and `check`.
//!
//! Each is clap arguments with a `run`; the service's program only has to name them.

mod check;
mod connection;
mod export;
mod status;
mod table;
mod words;

use std::path::PathBuf;

use clap::Args;
use thiserror::Error;

use crate::http::{AdminAddress, Token, TokenError};
use crate::observed::Fault;

pub use check::CheckArgs;
pub use connection::AdminClient;
pub use export::ExportAction;
pub use status::StatusArgs;

/// Where the service is.
#[derive(Args, Clone, Debug)]
pub struct ClientArgs {
    /// The service's admin address: IP:PORT or unix:PATH.
    #[arg(long = "admin", value_name = "ADDRESS", default_value = AdminAddress::DEFAULT, env = "NETPAGER_ADMIN", global = true)]
    address: AdminAddress,

    /// The file with the token, if the service wants one.
    #[arg(long, value_name = "FILE", env = "NETPAGER_TOKEN_FILE", global = true)]
    token_file: Option<PathBuf>,
}

impl ClientArgs {
    /// A client for the service. Nothing is sent yet.
    ///
    /// # Errors
    /// There is no usable token in the file.
    pub fn client(&self) -> Result<AdminClient, ClientError> {
        let token = self.token_file.as_deref().map(Token::from_file).transpose()?;
        AdminClient::new(self.address.clone(), token)
    }
}

/// Why a command failed.
#[derive(Debug, Error)]
pub enum ClientError {
    /// No usable token.
    #[error("{0}")]
    Token(#[from] TokenError),
    /// Nobody is there.
    #[error("no service answers at {address} ({error}); is it running, with this admin address?")]
    Unreachable {
        /// Where.
        address: AdminAddress,
        /// Why.
        error: std::io::Error,
    },
    /// Somebody is there who does not speak our API.
    #[error("{address} does not answer like netpager-host: {problem}")]
    Foreign {
        /// Where.
        address: AdminAddress,
        /// What it did.
        problem: String,
    },
    /// The service said no.
    #[error("{0}")]
    Refused(#[from] Fault),
    /// A check found something.
    #[error("export `{export}`: {count} faults were found")]
    Faulty {
        /// Where.
        export: String,
        /// How much.
        count: u64,
    },
    /// A check did not come to its end.
    #[error("the check of export `{0}` was cancelled")]
    Cancelled(String),
    /// The answer could not be printed.
    #[error("standard output: {0}")]
    Output(#[from] std::io::Error),
}

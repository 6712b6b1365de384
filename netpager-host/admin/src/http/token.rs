//! A secret shared by the service and whoever may operate it, kept in a file.

use std::fmt;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use thiserror::Error;

/// Shorter secrets can be guessed.
const LENGTH_MIN: usize = 16;

/// Why a file holds no token.
#[derive(Debug, Error)]
pub enum TokenError {
    /// It cannot be read.
    #[error("token file {path}: {error}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        error: io::Error,
    },
    /// Others may read it.
    #[error("token file {0}: other users may read it; please run: chmod 600 {0}")]
    Exposed(String),
    /// It holds something else.
    #[error("token file {0}: expected one line of at least {LENGTH_MIN} visible ASCII characters, such as `openssl rand -hex 32` prints")]
    Malformed(String),
}

/// A secret. It is never printed.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// Reads it from a file that nobody else may read.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub fn from_file(path: &Path) -> Result<Self, TokenError> {
        let name = || path.display().to_string();
        let unreadable = |error| TokenError::Unreadable { path: name(), error };
        let mode = std::fs::metadata(path).map_err(unreadable)?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(TokenError::Exposed(name()));
        }
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        Self::new(text.trim_end()).ok_or_else(|| TokenError::Malformed(name()))
    }

    /// A token, if it is long enough and can stand in a header.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        (text.len() >= LENGTH_MIN && text.bytes().all(|byte| byte.is_ascii_graphic())).then(|| Self(text.to_owned()))
    }

    /// Whether `text` is it, in a time that doesn't tell how much of it is right.
    pub(crate) fn is(&self, text: &str) -> bool {
        let difference = self.0.bytes().zip(text.bytes()).fold(0, |sum, (mine, other)| sum | (mine ^ other));
        std::hint::black_box(difference) == 0 && self.0.len() == text.len()
    }

    /// The header that shows it.
    pub(crate) fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_itself_only_and_not_shown() {
        let token = Token::new("0123456789abcdef").unwrap();
        assert!(token.is("0123456789abcdef"));
        for other in ["", "0123456789abcdeg", "0123456789abcde", "0123456789abcdef0"] {
            assert!(!token.is(other), "{other}");
        }
        assert!(!format!("{token:?}").contains("0123"));
        assert!(Token::new("short").is_none() && Token::new("with spaces in the middle").is_none());
    }

    #[test]
    fn a_file_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "0123456789abcdef\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(Token::from_file(&path), Err(TokenError::Exposed(_))));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(Token::from_file(&path).unwrap().is("0123456789abcdef"));
        std::fs::write(&path, "short\n").unwrap();
        assert!(Token::from_file(&path).unwrap_err().to_string().contains("at least 16"));
        assert!(matches!(Token::from_file(&folder.path().join("none")), Err(TokenError::Unreadable { .. })));
    }
}

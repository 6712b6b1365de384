//! TLS to other servers.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nbd::uri::NbdUri;
use remote::{BoxStream, Secure, Securing};
use security::TlsClient;

use super::MakeError;

/// Who we are to another server.
pub(super) struct Certificates {
    client: Arc<TlsClient>,
    /// The name its certificate must have, if not that of its address.
    name: Option<String>,
}

impl Certificates {
    /// Reads the certificates that `uri` names, or else those in `default`.
    pub(super) fn load(uri: &NbdUri, default: Option<&Path>) -> Result<Arc<dyn Secure>, MakeError> {
        let named = uri.tls.certificates.as_ref().map(PathBuf::from);
        let directory = named.or_else(|| default.map(Path::to_path_buf)).ok_or_else(|| MakeError::NoCertificates(uri.to_string()))?;
        Ok(Arc::new(Self { client: Arc::new(TlsClient::load(&directory)?), name: uri.tls.hostname.clone() }))
    }
}

impl Secure for Certificates {
    fn secure(&self, stream: BoxStream, name: &str) -> Securing {
        let client = self.client.clone();
        let name = self.name.clone().unwrap_or_else(|| name.to_owned());
        Box::pin(async move {
            let secured = client.connect_async(stream, &name).await.map_err(io::Error::other)?;
            Ok(Box::new(secured) as BoxStream)
        })
    }
}

//! Who may ask, and what a browser may do with the answer.
//!
//! A listener on loopback is reached by every web page that the operator has open: the page's script asks its own host name,
//! which its owner then points at 127.0.0.1 (DNS rebinding), or it just sends a form across origins. So a request must call us
//! by an address, `localhost` or a name the operator gave, and must not come from another origin.

use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, Uri};

use super::Token;
use crate::observed::{Fault, FaultKind};

/// The page loads its own files and nothing else, runs no inline script, and stands in nobody's frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// What a listener demands.
#[derive(Debug)]
pub(crate) struct Guard {
    pub(crate) token: Option<Token>,
    /// Names besides addresses and `localhost`, in lower case.
    pub(crate) host_names: Vec<String>,
}

impl Guard {
    /// Refuses requests that a foreign web page may have caused.
    pub(crate) fn admit(&self, method: &Method, headers: &HeaderMap) -> Result<(), Fault> {
        let forbidden = |message: &str| Err(Fault::new(FaultKind::Forbidden, message));
        let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let Some(host) = text(header::HOST) else { return forbidden("a request without a Host") };
        if !self.knows(host) {
            return forbidden("this service is not called that; use its address, `localhost`, or add the name to the admin host names");
        }
        if let Some(origin) = text(header::ORIGIN)
            && origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://")) != Some(host)
        {
            return forbidden("a request from another origin");
        }
        // Links from elsewhere may open the page; nothing else may come from elsewhere.
        let is_link = method == Method::GET && text(HeaderName::from_static("sec-fetch-mode")) == Some("navigate");
        match text(SITE) {
            None | Some("same-origin" | "none") => Ok(()),
            Some(_) if is_link => Ok(()),
            Some(_) => forbidden("a request from another site"),
        }
    }

    /// An address can't be rebound, so any will do.
    fn knows(&self, host: &str) -> bool {
        let Ok(uri) = host.parse::<Uri>() else { return false };
        let Some(name) = uri.authority().map(|authority| authority.host().to_ascii_lowercase()) else { return false };
        let address = name.trim_start_matches('[').trim_end_matches(']');
        name == "localhost" || address.parse::<std::net::IpAddr>().is_ok() || self.host_names.contains(&name)
    }

    /// Refuses requests without the token, if there is one.
    pub(crate) fn authorize(&self, headers: &HeaderMap) -> Result<(), Fault> {
        let Some(token) = &self.token else { return Ok(()) };
        let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        match shown {
            Some(shown) if token.is(shown) => Ok(()),
            Some(_) => Err(Fault::new(FaultKind::Unauthorized, "that is not the token")),
            None => Err(Fault::new(FaultKind::Unauthorized, "a token is needed: `Authorization: Bearer TOKEN`, or --token-file")),
        }
    }
}

/// Tells browsers what not to do.
pub(crate) fn harden(headers: &mut HeaderMap) {
    let fixed = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admit(method: Method, headers: &[(&str, &str)]) -> bool {
        let guard = Guard { token: None, host_names: vec!["pages.example".into()] };
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        guard.admit(&method, &headers).is_ok()
    }

    #[test]
    fn a_rebound_name_is_refused() {
        for host in ["127.0.0.1:10810", "[::1]:80", "localhost", "LOCALHOST:1", "192.0.2.7", "pages.example:10810"] {
            assert!(admit(Method::GET, &[("host", host)]), "{host}");
        }
        for host in ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "", "a b", "pages.example.evil"] {
            assert!(!admit(Method::GET, &[("host", host)]), "{host}");
        }
        assert!(!admit(Method::GET, &[]));
    }

    #[test]
    fn another_origin_is_refused() {
        let host = ("host", "localhost:1");
        assert!(admit(Method::POST, &[host, ("origin", "http://localhost:1")]));
        for origin in ["http://localhost:2", "http://evil.example", "null", "localhost:1"] {
            assert!(!admit(Method::POST, &[host, ("origin", origin)]), "{origin}");
        }
        assert!(!admit(Method::POST, &[host, ("sec-fetch-site", "cross-site")]));
        assert!(!admit(Method::GET, &[host, ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")]));
        assert!(admit(Method::GET, &[host, ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")]));
        assert!(!admit(Method::POST, &[host, ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")]));
    }
}

//! Whom a rule means.

use std::fmt;
use std::str::FromStr;

use crate::glob::Glob;
use crate::identity::{Identity, Name, Origin};

/// One entry of a rule's `identity`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum IdentityPattern {
    Dns(Glob),
    Uri(Glob),
    CommonName(Glob),
    /// Any certificate of ours, whatever its names.
    Certificate,
    /// A Unix user, or every one.
    User(Option<u32>),
    Group(u32),
    Loopback,
    /// Everybody, also those above: what anyone may do, all may do.
    Anyone,
}

/// What `{name}` is, for an identity that matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Called {
    By(String),
    Nothing,
}

impl Called {
    pub(super) fn as_deref(&self) -> Option<&str> {
        match self {
            Self::By(name) => Some(name),
            Self::Nothing => None,
        }
    }
}

impl IdentityPattern {
    /// All ways in which this entry means `identity`: what it is called in each.
    pub(super) fn matches(&self, identity: &Identity) -> Vec<Called> {
        let names = || identity.certificate().map(|certificate| &certificate.names[..]).unwrap_or_default();
        let by_name = |wanted: fn(&Name) -> bool, glob: Option<&Glob>| -> Vec<Called> {
            let meant = |name: &&Name| wanted(name) && glob.is_none_or(|glob| glob.matches(name.as_str()));
            names().iter().filter(meant).map(|name| Called::By(name.as_str().into())).collect()
        };
        let only_if = |condition: bool| if condition { vec![Called::Nothing] } else { Vec::new() };
        let user = match (identity.certificate(), identity.origin()) {
            (None, Origin::Unix { uid, gid }) => Some((uid, gid)),
            _ => None,
        };
        match self {
            Self::Dns(glob) => by_name(|name| matches!(name, Name::Dns(_)), Some(glob)),
            Self::Uri(glob) => by_name(|name| matches!(name, Name::Uri(_)), Some(glob)),
            Self::CommonName(glob) => by_name(|name| matches!(name, Name::CommonName(_)), Some(glob)),
            Self::Certificate => match by_name(|_| true, None) {
                called if called.is_empty() => only_if(identity.certificate().is_some()),
                called => called,
            },
            Self::User(wanted) => match user {
                Some((uid, _)) if wanted.is_none_or(|wanted| wanted == uid) => vec![Called::By(uid.to_string())],
                _ => Vec::new(),
            },
            Self::Group(wanted) => match user {
                Some((uid, gid)) if gid == *wanted => vec![Called::By(uid.to_string())],
                _ => Vec::new(),
            },
            Self::Loopback => only_if(identity.certificate().is_none() && identity.origin() == Origin::Loopback),
            Self::Anyone => only_if(true),
        }
    }
}

impl FromStr for IdentityPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let glob = |pattern: &str| match pattern.parse::<Glob>() {
            Ok(glob) if glob.names_the_identity() => Err(format!("`{text}`: {{name}} belongs into `export`, not into `identity`")),
            Ok(_) if pattern.is_empty() => Err(format!("`{text}` names nobody")),
            Ok(glob) => Ok(glob),
            Err(error) => Err(error.to_string()),
        };
        let number = |digits: &str| digits.parse().map_err(|_| format!("`{text}`: expected a number"));
        match text.split_once(':') {
            Some(("dns", pattern)) => glob(&pattern.to_ascii_lowercase()).map(Self::Dns),
            Some(("uri", pattern)) => glob(pattern).map(Self::Uri),
            Some(("cn", pattern)) => glob(pattern).map(Self::CommonName),
            Some(("uid", "*")) => Ok(Self::User(None)),
            Some(("uid", digits)) => number(digits).map(|uid| Self::User(Some(uid))),
            Some(("gid", digits)) => number(digits).map(Self::Group),
            None if text == "certificate" => Ok(Self::Certificate),
            None if text == "loopback" => Ok(Self::Loopback),
            None if text == "anyone" => Ok(Self::Anyone),
            _ => Err(format!(
                "`{text}` is no identity; expected dns:NAME, uri:URI, cn:NAME, certificate, uid:NUMBER, uid:*, gid:NUMBER, loopback or anyone"
            )),
        }
    }
}

impl fmt::Display for IdentityPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(glob) => write!(f, "dns:{glob}"),
            Self::Uri(glob) => write!(f, "uri:{glob}"),
            Self::CommonName(glob) => write!(f, "cn:{glob}"),
            Self::Certificate => f.write_str("certificate"),
            Self::User(None) => f.write_str("uid:*"),
            Self::User(Some(uid)) => write!(f, "uid:{uid}"),
            Self::Group(gid) => write!(f, "gid:{gid}"),
            Self::Loopback => f.write_str("loopback"),
            Self::Anyone => f.write_str("anyone"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::PeerCertificate;

    fn holder(names: &[Name]) -> Identity {
        let certificate = PeerCertificate { names: names.to_vec(), serial: "1".into(), chain: Vec::new() };
        Identity::of_certificate(Origin::Unix { uid: 5, gid: 6 }, certificate)
    }

    fn called(pattern: &str, identity: &Identity) -> Vec<String> {
        let called = pattern.parse::<IdentityPattern>().unwrap().matches(identity);
        called.iter().map(|called| called.as_deref().unwrap_or("-").into()).collect()
    }

    #[test]
    fn a_pattern_means_one_kind_of_identity() {
        let guest = holder(&[Name::Dns("guest-a".into()), Name::Uri("spiffe://x/a".into()), Name::CommonName("guest-a".into())]);
        let user = Identity::of_origin(Origin::Unix { uid: 5, gid: 6 });
        let local = Identity::of_origin(Origin::Loopback);
        let stranger = Identity::of_origin(Origin::Network);
        let none: [&str; 0] = [];
        for (pattern, expected) in [
            ("dns:GUEST-*", [&["guest-a"][..], &none, &none, &none]),
            ("uri:spiffe://x/*", [&["spiffe://x/a"], &none, &none, &none]),
            ("uri:guest-a", [&none, &none, &none, &none]),
            ("cn:guest-?", [&["guest-a"], &none, &none, &none]),
            ("certificate", [&["guest-a", "spiffe://x/a", "guest-a"], &none, &none, &none]),
            ("uid:5", [&none, &["5"], &none, &none]),
            ("uid:*", [&none, &["5"], &none, &none]),
            ("uid:6", [&none, &none, &none, &none]),
            ("gid:6", [&none, &["5"], &none, &none]),
            ("loopback", [&none, &none, &["-"], &none]),
            ("anyone", [&["-"], &["-"], &["-"], &["-"]]),
        ] {
            for (identity, expected) in [&guest, &user, &local, &stranger].into_iter().zip(expected) {
                assert_eq!(called(pattern, identity), expected, "{pattern} {identity}");
            }
        }
        assert_eq!(called("certificate", &holder(&[])), ["-"]);
    }

    #[test]
    fn patterns_that_mean_nobody_are_refused() {
        for (text, word) in [
            ("guest-a", "no identity"),
            ("*", "no identity"),
            ("user:root", "no identity"),
            ("uid:root", "a number"),
            ("gid:*", "a number"),
            ("uid:-1", "a number"),
            ("dns:", "nobody"),
            ("dns:{name}", "{name}"),
            ("dns:{x}", "braces"),
        ] {
            let error = text.parse::<IdentityPattern>().unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}

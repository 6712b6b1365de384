//! The words that the network pager is started with.

use alloc::format;
use alloc::string::String;
use core::str::FromStr;

use runtime::Args;
use smoltcp::wire::{Ipv4Address, Ipv4Cidr};

use crate::seal::Sealing;
use crate::stack::Addresses;

/// What the words say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub device: String,
    pub addresses: Addresses,
    pub export: String,
    pub connections: usize,
    pub takes_foreign: bool,
    /// Given if the server must speak TLS.
    pub tls: Option<TlsWords>,
    /// Seconds since 1970, for a machine that has no clock.
    pub clock: Option<u64>,
    pub sealing: Sealing,
    /// Milliseconds that a page may take before whoever wants it gets an error; 0 is for ever.
    pub deadline_ms: u32,
}

/// Whom to trust, and who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsWords {
    /// The directory of the ramdisk that has the files.
    pub certificates: String,
    /// Whom the server's certificate must name, if not the address.
    pub hostname: Option<String>,
}

const CONNECTIONS_MAX: usize = 8;
const DEADLINE_S: u32 = 30;

impl Config {
    /// Reads `device=eth0 ip=10.0.2.15/24 gw=10.0.2.2 server=10.0.2.2:PORT export=NAME [connections=2] [deadline=SECONDS] [foreign=take]
    /// [tls-certificates=DIRECTORY [tls-hostname=NAME] [clock=SECONDS]] [seal=yes|full]`.
    pub fn parse(args: &Args) -> Result<Self, String> {
        let own = needed::<Ipv4Cidr>(args, "ip", "an address and a prefix, as 10.0.2.15/24")?;
        let gateway = args.parse::<Ipv4Address>("gw").map_err(|text| format!("gw={text}: no address"))?;
        let server = args.value("server").and_then(|text| text.rsplit_once(':'));
        let server = server.and_then(|(host, port)| Some((host.parse().ok()?, port.parse().ok()?)));
        let (server, port) = server.ok_or("server=ADDRESS:PORT is needed")?;
        if gateway.is_none() && !own.contains_addr(&server) {
            return Err(format!("{server} isn't on {own}: gw=ADDRESS is needed"));
        }
        let connections = args.parse("connections").map_err(|text| format!("connections={text}: no number"))?.unwrap_or(2);
        if connections == 0 || connections > CONNECTIONS_MAX {
            return Err(format!("connections={connections}: 1 to {CONNECTIONS_MAX}"));
        }
        let takes_foreign = match args.value("foreign") {
            None | Some("refuse") => false,
            Some("take") => true,
            Some(other) => return Err(format!("foreign={other}: `take` or `refuse`")),
        };
        let deadline: u32 = args.parse("deadline").map_err(|text| format!("deadline={text}: no number of seconds"))?.unwrap_or(DEADLINE_S);
        let tls = args
            .value("tls-certificates")
            .map(|directory| TlsWords { certificates: String::from(directory), hostname: args.value("tls-hostname").map(String::from) });
        if let (None, Some(word)) = (&tls, ["tls-hostname", "clock"].into_iter().find(|word| args.value(word).is_some())) {
            return Err(format!("{word}= means nothing without tls-certificates="));
        }
        let sealing = match args.value("seal") {
            None | Some("no") => Sealing::Off,
            Some("yes") => Sealing::On,
            Some("full") => Sealing::Full,
            Some(other) => return Err(format!("seal={other}: `yes`, `full` or `no`")),
        };
        Ok(Self {
            tls,
            clock: args.parse("clock").map_err(|text| format!("clock={text}: no number of seconds"))?,
            sealing,
            device: String::from(args.value("device").unwrap_or("eth0")),
            addresses: Addresses { own, gateway, server, port },
            export: String::from(args.value("export").unwrap_or_default()),
            connections,
            takes_foreign,
            deadline_ms: deadline.saturating_mul(1000),
        })
    }
}

fn needed<T: FromStr>(args: &Args, key: &str, what: &str) -> Result<T, String> {
    match args.parse(key) {
        Ok(Some(value)) => Ok(value),
        Ok(None) => Err(format!("{key}= is needed: {what}")),
        Err(text) => Err(format!("{key}={text}: {what}")),
    }
}

#[cfg(test)]
mod tests {
    use runtime::Args;

    use super::{Config, TlsWords};
    use crate::seal::Sealing;

    fn parse(words: &'static [&'static str]) -> Result<Config, String> {
        Config::parse(&Args::new(words))
    }

    #[test]
    fn the_words_of_the_manifests() {
        let config = parse(&["net", "device=eth0", "ip=10.0.2.15/24", "gw=10.0.2.2", "server=10.0.2.2:4000", "export=memory"]).unwrap();
        assert_eq!((config.addresses.port, config.connections, config.deadline_ms), (4000, 2, 30_000));
        assert_eq!((config.device.as_str(), config.export.as_str(), config.takes_foreign), ("eth0", "memory", false));
    }

    #[test]
    fn secrets_are_asked_for() {
        let config =
            parse(&["net", "ip=10.0.2.15/24", "server=10.0.2.2:4000", "tls-certificates=keys", "clock=1795000000", "seal=full"]).unwrap();
        assert_eq!(config.tls, Some(TlsWords { certificates: "keys".into(), hostname: None }));
        assert_eq!((config.clock, config.sealing), (Some(1_795_000_000), Sealing::Full));
        let plain = parse(&["net", "ip=10.0.2.15/24", "server=10.0.2.2:4000"]).unwrap();
        assert_eq!((plain.tls, plain.sealing), (None, Sealing::Off));
    }

    #[test]
    fn mistakes_are_named() {
        let cases: [(&'static [&'static str], &str); 11] = [
            (&["net", "ip=10.0.2.15/24", "server=10.0.2.2:5", "seal=maybe"], "seal=maybe"),
            (&["net", "ip=10.0.2.15/24", "server=10.0.2.2:5", "tls-hostname=host"], "tls-certificates"),
            (&["net", "ip=10.0.2.15/24", "server=10.0.2.2:5", "tls-certificates=keys", "clock=now"], "clock=now"),
            (&["net"], "ip="),
            (&["net", "ip=10.0.2.15"], "prefix"),
            (&["net", "ip=10.0.2.15/24"], "server="),
            (&["net", "ip=10.0.2.15/24", "server=10.0.2.2"], "server="),
            (&["net", "ip=10.0.2.15/24", "server=10.9.0.1:5"], "gw="),
            (&["net", "ip=10.0.2.15/24", "server=10.0.2.2:5", "gw=x"], "gw=x"),
            (&["net", "ip=10.0.2.15/24", "server=10.0.2.2:5", "connections=9"], "1 to 8"),
            (&["net", "ip=10.0.2.15/24", "server=10.0.2.2:5", "foreign=maybe"], "foreign=maybe"),
        ];
        for (words, why) in cases {
            let error = parse(words).unwrap_err();
            assert!(error.contains(why), "{words:?}: {error}");
        }
    }
}

//! Addresses: those of doc/uri.md and of other tools, mistakes, and that what is written reads back.

use nbd::uri::{NbdUri, TlsKind, TlsParameters, Transport, UriError};
use proptest::prelude::*;

fn parse(text: &str) -> NbdUri {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn error(text: &str) -> UriError {
    text.parse::<NbdUri>().expect_err(text)
}

#[test]
fn the_names_of_the_specification() {
    for (text, export) in [
        ("nbd://example.com/disk", "disk"),
        ("nbd+unix:///disk?socket=sock", "disk"),
        ("nbd://example.com/", ""),
        ("nbd://example.com", ""),
        ("nbd://example.com//disk", "/disk"),
        ("nbd://example.com/hello%20world", "hello world"),
        ("nbd://example.com/np1/tenant/heap@1G", "np1/tenant/heap@1G"),
        ("nbd://example.com/a+b%2Bc", "a+b+c"),
        ("nbd://example.com/gr%C3%BC%C3%9Fe", "grüße"),
        ("nbd://example.com/grüße", "grüße"),
    ] {
        assert_eq!(parse(text).export, export, "{text}");
    }
}

#[test]
fn hosts_and_ports() {
    for (text, host, port) in [
        ("nbd://example.com", "example.com", 10809),
        ("NBD://example.com:10810/x", "example.com", 10810),
        ("nbd://127.0.0.1:0", "127.0.0.1", 0),
        ("nbd://host:/x", "host", 10809),
        ("nbd:///x", "localhost", 10809),
        ("nbd://[::1]/x", "::1", 10809),
        ("nbd://[fe80::1%25eth0]:65535", "fe80::1%eth0", 65535),
    ] {
        assert_eq!(parse(text).transport, Transport::Tcp { host: host.into(), port }, "{text}");
    }
}

#[test]
fn unix_sockets() {
    let socket = |text| match parse(text).transport {
        Transport::Unix { socket } => socket,
        other => panic!("{other:?}"),
    };
    assert_eq!(socket("nbd+unix:///x?socket=/run/nbd.sock"), "/run/nbd.sock");
    assert_eq!(socket("nbd+unix://?socket=nbd%20sock"), "nbd sock");
    assert_eq!(socket("nbd+unix:///?socket=%00/abstract"), "\0/abstract");
}

#[test]
fn tls_in_all_its_details() {
    let text = "nbds://alice@example.com/x?tls-certificates=/etc/pki&tls-hostname=other&tls-verify-peer=1&tls-type=x509";
    let expected = TlsParameters {
        kind: Some(TlsKind::X509),
        hostname: Some("other".into()),
        verify_peer: Some(true),
        certificates: Some("/etc/pki".into()),
        psk_file: None,
        username: Some("alice".into()),
    };
    let uri = parse(text);
    assert!(uri.is_secure);
    assert_eq!(uri.tls, expected);
    let uri = parse("nbds+unix://bob@/x?socket=s&tls-psk-file=keys.psk");
    assert_eq!((uri.tls.username.as_deref(), uri.tls.psk_file.as_deref()), (Some("bob"), Some("keys.psk")));
    assert_eq!(parse("nbds://h?tls-username=carol&tls-type=psk").tls.username.as_deref(), Some("carol"));
    assert!(!parse("nbd://h").is_secure);
}

#[test]
fn mistakes_are_named() {
    let long = format!("nbd://h/{}", "x".repeat(nbd::limits::STRING_MAX + 1));
    for (text, word) in [
        ("", "nbd://localhost/export"),
        ("localhost:10809", "expected an address"),
        ("nbd:localhost", "expected an address"),
        ("http://h/x", "`http` is no scheme of NBD"),
        ("nbd+vsock://2/x", "VM sockets are not supported"),
        ("nbds+vsock://2:1/x", "VM sockets are not supported"),
        ("nbd+ssh://h/x", "no scheme"),
        ("nbd://h/x#y", "%23"),
        ("nbd://h/x y", "' ' must be percent-encoded"),
        ("nbd://h/x\n", "must be percent-encoded"),
        ("nbd://h/%4", "two hexadecimal digits"),
        ("nbd://h/%zz", "two hexadecimal digits"),
        ("nbd://h/%+1", "two hexadecimal digits"),
        ("nbd://h/%ff", "UTF-8"),
        ("nbd://h/a%00b", "an export's name"),
        (long.as_str(), "longer than 4096"),
        ("nbd://h:70000", "`70000` is no port"),
        ("nbd://h:+1", "`+1` is no port"),
        ("nbd://::1/x", "`::1` is no host"),
        ("nbd://[::1/x", "is no host"),
        ("nbd://[::1]x/x", "is no host"),
        ("nbd://[host]/x", "is no host"),
        ("nbd://a%3Ab/x", "is no host"),
        ("nbd://%3A%3A1/x", "is no host"),
        ("nbd://[a%40b:c]/x", "is no host"),
        ("nbd://[::1%25]/x", "is no host"),
        ("nbd://[::1::]/x", "is no host"),
        ("nbds://a:b@h/x", "password"),
        ("nbds://a@h/x?tls-username=b", "`tls-username` is given twice"),
        ("nbd+unix:///x", "socket=PATH"),
        ("nbd+unix:///x?socket=", "socket=PATH"),
        ("nbd+unix:///x?socket=%00", "socket=PATH"),
        ("nbd+unix:///x?socket=a%00b", "a socket's path"),
        ("nbd+unix://h/x?socket=s", "has no host"),
        ("nbd+unix:///x?socket=a&socket=b", "`socket` is given twice"),
        ("nbd://h/x?socket=s", "nbd+unix"),
        ("nbd://h/x?sockett=s", "`sockett` is no parameter"),
        ("nbds://h/x?tls-type=none", "x509, psk or anon"),
        ("nbds://h/x?tls-verify-peer=yes", "0 or 1"),
        ("nbd://h/x?tls-certificates=d", "`tls-certificates` means nothing without TLS"),
        ("nbd://alice@h/x", "without TLS"),
        ("nbds://h/x?tls-certificates=%00", "a parameter's value"),
    ] {
        let message = error(text).to_string();
        assert!(message.contains(word), "{text}: {message}");
    }
}

#[test]
fn what_is_written_is_short_and_known_to_other_tools() {
    for (text, written) in [
        ("nbd://h:10809", "nbd://h/"),
        ("NBDS://[::1]:1/a b", ""),
        ("nbds://[::1]:1/a%20b", "nbds://[::1]:1/a%20b"),
        ("nbd+unix:///a?socket=%00%2Fx", "nbd+unix:///a?socket=%00/x"),
        ("nbds://u@h/x?tls-verify-peer=0", "nbds://h/x?tls-username=u&tls-verify-peer=0"),
        ("nbd:///np1/a/b@1G", "nbd://localhost/np1/a/b@1G"),
    ] {
        if let Ok(uri) = text.parse::<NbdUri>() {
            assert_eq!(uri.to_string(), written);
        } else {
            assert!(written.is_empty(), "{text}");
        }
    }
    assert_eq!(NbdUri::tcp("::1", 1, "x y").to_string(), "nbd://[::1]:1/x%20y");
    assert_eq!(NbdUri::unix("/a&b", "").to_string(), "nbd+unix:///?socket=/a%26b");
}

fn word() -> impl Strategy<Value = String> {
    prop::string::string_regex("[^\0]{1,12}").unwrap()
}

fn transport() -> impl Strategy<Value = Transport> {
    let name = prop::string::string_regex("[^\0:]{1,12}").unwrap();
    let address = any::<u128>().prop_map(|bits| std::net::Ipv6Addr::from_bits(bits).to_string()).boxed();
    let zone = (address.clone(), "[^\0]{1,6}").prop_map(|(address, zone)| format!("{address}%{zone}"));
    let tcp = (prop_oneof![name, address, zone], any::<u16>()).prop_map(|(host, port)| Transport::Tcp { host, port });
    let socket = (any::<bool>(), word()).prop_map(|(is_abstract, path)| if is_abstract { format!("\0{path}") } else { path });
    prop_oneof![tcp, socket.prop_map(|socket| Transport::Unix { socket })]
}

fn tls() -> impl Strategy<Value = TlsParameters> {
    let kind = prop::option::of(prop::sample::select(vec![TlsKind::X509, TlsKind::Psk, TlsKind::Anonymous]));
    let words = prop::collection::vec(prop::option::of(word()), 4);
    (kind, prop::option::of(any::<bool>()), words).prop_map(|(kind, verify_peer, mut words)| {
        let mut next = || words.pop().flatten();
        TlsParameters { kind, verify_peer, hostname: next(), certificates: next(), psk_file: next(), username: next() }
    })
}

proptest! {
    #[test]
    fn every_address_reads_back(transport in transport(), is_secure: bool, export in "[^\0]{0,40}", tls in tls()) {
        let uri = NbdUri { transport, is_secure, export, tls: if is_secure { tls } else { TlsParameters::default() } };
        let text = uri.to_string();
        prop_assert!(text.is_ascii());
        prop_assert_eq!(text.parse::<NbdUri>(), Ok(uri), "{}", text);
    }

    #[test]
    fn what_can_be_read_can_be_written(text in "nbds?(\\+unix)?://[a-z0-9@:\\[\\]%/?&=.-]{0,40}") {
        if let Ok(uri) = text.parse::<NbdUri>() {
            prop_assert_eq!(uri.to_string().parse::<NbdUri>(), Ok(uri));
        }
    }
}

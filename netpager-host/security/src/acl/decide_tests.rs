//! Tests of the rules together, as a configuration file has them.

use std::time::Duration;

use proptest::prelude::*;
use serde::Deserialize;

use super::*;
use crate::bucket::Rate;
use crate::identity::{Name, Origin, PeerCertificate};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    acl: Vec<RuleConfig>,
    #[serde(default)]
    class: BTreeMap<String, ClassConfig>,
}

const RULES: &str = r#"
    [[acl]]
    identity = "dns:banned"
    export = "**"
    access = "none"

    [[acl]]
    identity = ["dns:guest-*", "uri:urn:guest:*"]
    export = "np1/{name}/**"
    access = "exclusive"
    may-create = true
    max-bytes = "8GiB"
    reserved-bytes = "1GiB"
    max-connections = 8
    class = "gold"

    [[acl]]
    identity = ["certificate", "uid:0"]
    export = ["images/*", ""]
    access = "read-only"

    [[acl]]
    identity = "anyone"
    export = "public"
    access = "read-only"

    [class.gold]
    iops = 20000
    bandwidth = "200MiB"
    burst = "250ms"
"#;

fn acl(text: &str, anyone: bool) -> Result<Acl, String> {
    let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
    Acl::new(&file.acl, &file.class, anyone).map_err(|error| error.to_string())
}

fn holder(name: &str) -> Identity {
    let names = vec![Name::Dns(name.into())];
    Identity::of_certificate(Origin::Network, PeerCertificate { names, serial: "1".into(), chain: Vec::new() })
}

const LOCAL: fn() -> Identity = || Identity::of_origin(Origin::Loopback);
const STRANGER: fn() -> Identity = || Identity::of_origin(Origin::Network);
const ROOT: fn() -> Identity = || Identity::of_origin(Origin::Unix { uid: 0, gid: 0 });

#[test]
fn the_first_rule_that_matches_decides() {
    let acl = acl(RULES, false).unwrap();
    for (identity, export, expected) in [
        (holder("guest-a"), "np1/guest-a/heap", Some(Access::Exclusive)),
        (holder("guest-a"), "np1/guest-b/heap", None),
        (holder("guest-a"), "images/debian", Some(Access::ReadOnly)),
        (holder("guest-a"), "images/a/b", None),
        (holder("other"), "images/debian", Some(Access::ReadOnly)),
        (holder("other"), "", Some(Access::ReadOnly)),
        (holder("other"), "np1/other/heap", None),
        (holder("banned"), "images/debian", None),
        (holder("banned"), "public", None),
        (ROOT(), "images/debian", Some(Access::ReadOnly)),
        (LOCAL(), "images/debian", None),
        (LOCAL(), "public", Some(Access::ReadOnly)),
        (STRANGER(), "public", None),
    ] {
        let decision = acl.decide(&identity, export);
        assert_eq!(decision.as_ref().ok().map(|grant| grant.access), expected, "{identity} {export}: {decision:?}");
        assert_eq!(acl.may_see(&identity, export), expected.is_some());
    }
}

#[test]
fn a_grant_carries_its_limits_and_its_reason() {
    let grant = acl(RULES, false).unwrap().decide(&holder("guest-a"), "np1/guest-a/heap").unwrap();
    let burst = Duration::from_millis(250);
    assert_eq!((grant.limits.max_bytes, grant.limits.reserved_bytes), (Some(8 << 30), Some(1 << 30)));
    assert_eq!((grant.limits.max_connections, grant.may_create), (Some(8), true));
    assert_eq!(grant.limits.requests, Some(Rate { per_second: 20_000, burst }));
    assert_eq!(grant.limits.bytes, Some(Rate { per_second: 200 << 20, burst }));
    assert_eq!(grant.why, "acl rule 2 (dns:guest-*, uri:urn:guest:* on np1/{name}/**: exclusive, may create)");
}

#[test]
fn a_denial_tells_the_log_and_hides_from_the_client() {
    let acl = acl(RULES, false).unwrap();
    let by_rule = acl.decide(&holder("banned"), "images/debian").unwrap_err();
    let by_none = acl.decide(&LOCAL(), "images/debian").unwrap_err();
    let stranger = acl.decide(&STRANGER(), "images/debian").unwrap_err();
    assert!(by_rule.why.contains("dns:banned: acl rule 1"), "{}", by_rule.why);
    assert!(by_none.why.contains("none of the 4 acl rules matches"), "{}", by_none.why);
    assert!(stranger.why.contains("without a certificate"), "{}", stranger.why);
    assert_eq!(by_rule.told(), by_none.told());
    assert_eq!(by_rule.told(), super::super::no_such_export("images/debian"));
}

#[test]
fn strangers_need_the_operators_word_and_a_rule() {
    assert!(acl(RULES, true).unwrap().may_see(&STRANGER(), "public"));
    assert!(!acl(RULES, true).unwrap().may_see(&STRANGER(), "images/debian"));
    assert_eq!(acl(RULES, false).unwrap().warnings().len(), 1);
    assert_eq!(acl(RULES, true).unwrap().warnings().len(), 0);
}

#[test]
fn without_rules_all_but_strangers_may_do_everything() {
    let acl_closed = acl("", false).unwrap();
    for identity in [LOCAL(), ROOT(), holder("x")] {
        let grant = acl_closed.decide(&identity, "any/thing").unwrap();
        assert_eq!((grant.access, grant.may_create), (Access::ReadWrite, true));
    }
    assert!(acl_closed.decide(&STRANGER(), "any/thing").is_err());
    assert!(acl("", true).unwrap().decide(&STRANGER(), "any/thing").is_ok());
}

#[test]
fn rules_that_make_no_sense_are_named() {
    let rule = |keys: &str| format!("[[acl]]\nidentity = \"loopback\"\nexport = \"a\"\naccess = \"none\"\n[[acl]]\n{keys}");
    for (keys, words) in [
        ("identity = \"root\"\nexport = \"a\"\naccess = \"none\"", "acl rule 2: `root` is no identity"),
        ("identity = []\nexport = \"a\"\naccess = \"none\"", "acl rule 2: `identity` names nobody"),
        ("identity = \"loopback\"\nexport = []\naccess = \"none\"", "acl rule 2: `export` names no export"),
        ("identity = \"loopback\"\nexport = \"{x}\"\naccess = \"none\"", "acl rule 2: pattern"),
        ("identity = \"loopback\"\nexport = \"a\"\naccess = \"read-write\"\nclass = \"x\"", "no [class.x]"),
        ("identity = \"loopback\"\nexport = \"a\"\naccess = \"read-only\"\nmay-create = true", "may-create"),
        ("identity = \"loopback\"\nexport = \"a\"\naccess = \"rw\"", "unknown variant `rw`"),
        ("identity = \"loopback\"\nexport = \"a\"\naccess = \"none\"\nmax_bytes = 1", "unknown field `max_bytes`"),
        ("identity = \"loopback\"\nexport = \"a\"\naccess = \"none\"\nmax-bytes = \"8 gigs\"", "no size"),
        ("identity = \"loopback\"\nexport = \"a\"\naccess = \"read-write\"\nclass = \"z\"\n[class.z]\niops = 0", "a rate of 0"),
    ] {
        let error = acl(&rule(keys), false).unwrap_err();
        assert!(error.contains(words), "{keys}: {error}");
    }
}

/// A plain model: rules of one identity and one literal export or everything.
#[derive(Clone, Debug)]
struct ModelRule {
    who: usize,
    export: Option<usize>,
    access: usize,
}

const WHO: [&str; 5] = ["dns:a", "dns:b", "certificate", "loopback", "anyone"];
const EXPORTS: [&str; 3] = ["x", "y/z", ""];
const ACCESS: [Access; 4] = [Access::None, Access::ReadOnly, Access::ReadWrite, Access::Exclusive];

fn expected(rules: &[ModelRule], client: usize, export: usize, anyone: bool) -> Option<Access> {
    // Clients: the holders of `a` and `b`, one on this machine, a stranger.
    let meant = |who: usize| match who {
        0 | 1 => client == who,
        2 => client < 2,
        3 => client == 2,
        _ => true,
    };
    let rule = rules.iter().find(|rule| meant(rule.who) && rule.export.is_none_or(|wanted| wanted == export));
    let access = rule.map_or(Access::None, |rule| ACCESS[rule.access]);
    (access != Access::None && (client != 3 || anyone)).then_some(access)
}

proptest! {
    #[test]
    fn decisions_follow_the_model(
        rules in proptest::collection::vec((0..5_usize, proptest::option::of(0..3_usize), 0..4_usize), 1..8),
        anyone: bool,
    ) {
        let rules: Vec<ModelRule> = rules.into_iter().map(|(who, export, access)| ModelRule { who, export, access }).collect();
        let one = |text: &str| super::super::Strings::One(text.into());
        let configs: Vec<RuleConfig> = rules.iter().map(|rule| RuleConfig {
            identity: one(WHO[rule.who]),
            export: one(rule.export.map_or("**", |export| EXPORTS[export])),
            access: ACCESS[rule.access],
            may_create: false,
            max_bytes: None,
            reserved_bytes: None,
            max_connections: None,
            class: None,
        }).collect();
        let acl = Acl::new(&configs, &BTreeMap::new(), anyone).unwrap();
        for (client, identity) in [holder("a"), holder("b"), LOCAL(), STRANGER()].iter().enumerate() {
            for (index, export) in EXPORTS.iter().enumerate() {
                let decision = acl.decide(identity, export);
                prop_assert_eq!(decision.as_ref().ok().map(|grant| grant.access), expected(&rules, client, index, anyone));
                prop_assert!(decision.is_err() || decision.unwrap().identity == identity.label());
            }
        }
    }
}

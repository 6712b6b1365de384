//! The network: pages over TLS and sealed, pages kept by other people's servers, and a server that dies with the pages it kept.

use super::guest::{Expect, GuestTest, member_lost, restarted_once};
use super::peer::Peer;

const fn test(name: &'static str, line: &'static str) -> GuestTest {
    GuestTest { name, line, peer: None, expect: Expect::Verified, also: &[], quick: false }
}

const fn kept_by(peer: Peer, name: &'static str, line: &'static str) -> GuestTest {
    GuestTest { peer: Some(peer), ..test(name, line) }
}

pub(crate) const TESTS: &[GuestTest] = &[
    GuestTest {
        quick: true,
        ..test("tls-sealed", "net --accel tcg --link user --tls --seal yes --memory 48 --working-set 64 --timeout 300")
    },
    kept_by(Peer::Nbdkit, "nbdkit", "net --accel tcg --link user --memory 48 --working-set 64 --timeout 300"),
    kept_by(Peer::NbdkitTls, "nbdkit-tls", "net --accel tcg --link user --memory 40 --working-set 48 --timeout 300"),
    kept_by(Peer::QemuNbd, "qemu-nbd", "net --accel tcg --link user --memory 48 --working-set 64 --timeout 300"),
    kept_by(Peer::QemuNbd, "qemu-nbd-sealed", "net --accel tcg --link user --seal full --memory 40 --working-set 48 --timeout 300"),
    GuestTest {
        also: &[restarted_once],
        ..test(
            "tls-sealed-host-killed-and-back",
            "net-exclusive --accel tcg --link user --tls --seal full --memory 48 --working-set 64 --timeout 300 --chaos kill-host@random",
        )
    },
    GuestTest {
        also: &[member_lost],
        ..test("mirror-member-killed", "net --accel tcg --link user --memory 48 --working-set 64 --timeout 300 --chaos kill-member@random")
    },
];

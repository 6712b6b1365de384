//! What the server's half answers to each option: framings, TLS, contexts, and exports that are refused in words.

mod common;

use common::script::{go_bytes, option_bytes, queries_bytes, replies, server_answers, string};
use common::{NAME, OTHER, Server};
use nbd::server::{Purpose, RefusalKind, ServerError, TlsMode};
use nbd::wire::{info, option, option_reply};
use nbd::{ContextSet, Framing, TransmissionFlags};

/// The last reply to these options of a modern client.
fn last(tls: TlsMode, options: &[Vec<u8>]) -> (Server, (u32, u32, Vec<u8>)) {
    let (server, out) = server_answers(tls, 3, options).unwrap();
    (server, replies(&out).pop().unwrap())
}

fn bare(option: u32) -> Vec<u8> {
    option_bytes(option, b"")
}

#[test]
fn extended_headers_take_precedence() {
    let (eh, sr) = (option::EXTENDED_HEADERS, option::STRUCTURED_REPLY);
    for (options, option, kind) in [
        (vec![bare(eh)], eh, option_reply::ACK),
        (vec![bare(sr), bare(eh)], eh, option_reply::ACK),
        (vec![bare(eh), bare(sr)], sr, option_reply::ERR_EXT_HEADER_REQD),
        (vec![bare(eh), bare(eh)], eh, option_reply::ERR_INVALID),
        (vec![bare(sr), bare(sr)], sr, option_reply::ERR_INVALID),
        (vec![option_bytes(eh, b"x")], eh, option_reply::ERR_INVALID),
    ] {
        let (_, (answered, got, _)) = last(TlsMode::None, &options);
        assert_eq!((answered, got), (option, kind));
    }
    let (server, _) = server_answers(TlsMode::None, 3, &[bare(sr), bare(eh), go_bytes(option::GO, NAME, &[])]).unwrap();
    assert_eq!(server.negotiated().unwrap().framing, Framing::Extended);
    let old = option_bytes(option::EXPORT_NAME, NAME.as_bytes());
    assert_eq!(server_answers(TlsMode::None, 3, &[bare(eh), old]).err(), Some(ServerError::ExportNameAfterExtended));
}

#[test]
fn flags_are_those_that_the_framing_has_room_for() {
    let (eh, sr) = (bare(option::EXTENDED_HEADERS), bare(option::STRUCTURED_REPLY));
    let set = queries_bytes(option::SET_META_CONTEXT, NAME, &[nbd::context::STATE]);
    let (df, filter) = (TransmissionFlags::SEND_DF, TransmissionFlags::BLOCK_STATUS_PAYLOAD);
    for (options, flags) in [
        (vec![], TransmissionFlags::empty()),
        (vec![sr.clone()], df),
        (vec![sr, set.clone()], df),
        (vec![eh.clone()], df),
        (vec![eh, set], df | filter),
    ] {
        let options = [options, vec![go_bytes(option::GO, NAME, &[])]].concat();
        let (server, out) = server_answers(TlsMode::None, 3, &options).unwrap();
        let told = replies(&out).into_iter().find(|reply| reply.1 == option_reply::INFO).unwrap().2;
        let told = TransmissionFlags::from_bits_retain(u16::from_be_bytes(told[10..12].try_into().unwrap()));
        assert_eq!(told & (df | filter), flags);
        assert_eq!(server.negotiated().unwrap().info.flags, told);
    }
}

#[test]
fn contexts_are_chosen_for_one_export_only() {
    let set = |queries: &[&str]| queries_bytes(option::SET_META_CONTEXT, NAME, queries);
    let one = ContextSet::one;
    for (options, chosen) in [
        (vec![set(&["qemu:x", "base:allocation"])], one(0)),
        (vec![set(&["x-netpager:state", "base:allocation", "x-netpager:state"])], one(0).with(1)),
        (vec![set(&["base:allocation"]), set(&["x-netpager:state"])], one(1)),
        (vec![set(&["base:", "x-netpager:cap-fence"])], ContextSet::EMPTY),
        (vec![set(&["base:allocation"]), set(&[])], ContextSet::EMPTY),
        (vec![set(&["base:allocation"]), queries_bytes(option::SET_META_CONTEXT, "none", &["base:allocation"])], ContextSet::EMPTY),
        (vec![set(&["base:allocation"]), option_bytes(option::SET_META_CONTEXT, b"?")], ContextSet::EMPTY),
        (vec![set(&["base:allocation"]), queries_bytes(option::LIST_META_CONTEXT, NAME, &[])], one(0)),
        (vec![set(&["base:allocation"]), bare(option::EXTENDED_HEADERS)], one(0)),
    ] {
        for (entered, chosen) in [(NAME, chosen), ("", chosen), (OTHER, ContextSet::EMPTY)] {
            let options = [vec![bare(option::STRUCTURED_REPLY)], options.clone(), vec![go_bytes(option::GO, entered, &[])]].concat();
            let (server, _) = server_answers(TlsMode::None, 3, &options).unwrap();
            assert_eq!(server.negotiated().unwrap().contexts, chosen, "entering `{entered}`");
        }
    }
}

#[test]
fn contexts_and_capabilities_are_listed() {
    let all = ["base:allocation", "x-netpager:state", "x-netpager:cap-fence"];
    for (queries, names) in [
        (&[][..], &all[..]),
        (&["base:"], &all[..1]),
        (&["x-netpager:", "unknown:"], &all[1..]),
        (&["x-netpager:cap-fence"], &all[2..]),
        (&["x-netpager:cap-fenced", "x-netpager", "base"], &[]),
    ] {
        let list = queries_bytes(option::LIST_META_CONTEXT, NAME, queries);
        let (_, out) = server_answers(TlsMode::None, 3, &[bare(option::STRUCTURED_REPLY), list]).unwrap();
        let told = replies(&out);
        let expected =
            names.iter().map(|name| (option::LIST_META_CONTEXT, option_reply::META_CONTEXT, [b"\0\0\0\0", name.as_bytes()].concat()));
        assert!(told[1..told.len() - 1].iter().cloned().eq(expected), "{queries:?}: {told:?}");
        assert_eq!(told.last().unwrap().1, option_reply::ACK);
    }
    let set = queries_bytes(option::SET_META_CONTEXT, NAME, &all);
    let (_, out) = server_answers(TlsMode::None, 3, &[bare(option::STRUCTURED_REPLY), set.clone()]).unwrap();
    let numbers: Vec<Vec<u8>> = replies(&out)[1..].iter().map(|reply| reply.2.iter().take(4).copied().collect()).collect();
    assert_eq!(numbers, [vec![0, 0, 0, 1], vec![0, 0, 0, 2], vec![]]);
    assert_eq!(last(TlsMode::None, &[set]).1.1, option_reply::ERR_INVALID, "not before structured replies");
}

#[test]
fn exports_are_refused_in_words() {
    for (name, kind, text) in [
        ("none", option_reply::ERR_UNKNOWN, "no such export"),
        ("quota", option_reply::ERR_POLICY, "7 of 8 GiB used"),
        ("late", option_reply::ERR_SHUTDOWN, "going away"),
        ("secret", option_reply::ERR_TLS_REQD, "`secret` is served over TLS only"),
    ] {
        for option in [option::GO, option::INFO] {
            assert_eq!(last(TlsMode::Offered, &[go_bytes(option, name, &[])]).1, (option, kind, text.as_bytes().to_vec()));
        }
    }
    let (mut server, _) = server_answers(TlsMode::Offered, 3, &[bare(option::STARTTLS)]).unwrap();
    server.secured();
    server.receive(&go_bytes(option::GO, "secret", &[])).unwrap();
    assert_eq!(replies(&server.out)[0].1, option_reply::ERR_POLICY, "over TLS, TLS is not what is missing");
    for (name, kind) in [("none", RefusalKind::Unknown), ("quota", RefusalKind::Policy), ("secret", RefusalKind::TlsRequired)] {
        let old = option_bytes(option::EXPORT_NAME, name.as_bytes());
        assert_eq!(server_answers(TlsMode::None, 3, &[old]).err(), Some(ServerError::ExportName(kind)));
    }
    let not_text = option_bytes(option::EXPORT_NAME, b"\xff");
    assert_eq!(server_answers(TlsMode::None, 3, &[not_text]).err(), Some(ServerError::ExportNameMalformed));
}

#[test]
fn an_export_may_insist_on_its_block_sizes() {
    let mut server = Server::new();
    server.exports.needs_block_sizes = true;
    server.out.clear();
    server.receive(&[0, 0, 0, 3]).unwrap();
    server.receive(&go_bytes(option::GO, NAME, &[info::NAME])).unwrap();
    assert_eq!(replies(&server.out)[0].1, option_reply::ERR_BLOCK_SIZE_REQD);
    server.receive(&go_bytes(option::GO, NAME, &[info::BLOCK_SIZE])).unwrap();
    assert!(server.negotiated().is_some());
}

#[test]
fn what_takes_time_is_asked_again_and_done_once() {
    for enter in [go_bytes(option::GO, NAME, &[]), option_bytes(option::EXPORT_NAME, NAME.as_bytes())] {
        let mut server = Server::new();
        server.exports.waits.set(2);
        server.out.clear();
        server.receive(&[&[0, 0, 0, 3], &go_bytes(option::INFO, NAME, &[])[..]].concat()).unwrap();
        let described = server.out.len();
        server.receive(&enter).unwrap();
        assert!(server.negotiated().is_some() && server.out.len() > described);
        let asked = server.exports.asked.take();
        let purposes: Vec<Purpose> = asked.iter().map(|asked| asked.1).collect();
        assert_eq!(purposes, [Purpose::Look, Purpose::Enter, Purpose::Enter, Purpose::Enter]);
        assert!(asked.iter().all(|asked| asked.0 == NAME));
    }
}

#[test]
fn without_tls_a_server_that_requires_it_says_nothing_else() {
    for option in 1..20 {
        match option {
            option::ABORT | option::STARTTLS => continue,
            option::EXPORT_NAME => {
                let error = server_answers(TlsMode::Required, 3, &[option_bytes(option, NAME.as_bytes())]).err();
                assert_eq!(error, Some(ServerError::ExportNameWithoutTls));
            }
            _ => {
                let data = [string(NAME), vec![0, 0]].concat();
                let (server, (_, kind, _)) = last(TlsMode::Required, &[option_bytes(option, &data)]);
                assert_eq!(kind, option_reply::ERR_TLS_REQD);
                assert!(server.exports.asked.take().is_empty(), "no export is looked at before TLS");
            }
        }
    }
    assert!(server_answers(TlsMode::Required, 3, &[bare(option::ABORT)]).unwrap().0.is_over());
}

#[test]
fn tls_starts_afresh() {
    for mode in [TlsMode::Offered, TlsMode::Required] {
        let before = [bare(option::STRUCTURED_REPLY), queries_bytes(option::SET_META_CONTEXT, NAME, &["base:allocation"])];
        let (mut server, _) = server_answers(mode, 3, &[before.concat(), bare(option::STARTTLS)]).unwrap();
        assert!(server.starts_tls);
        assert_eq!(server.receive(b"x"), Err(ServerError::PlaintextAfterStartTls));
        server.secured();
        server.receive(&bare(option::STARTTLS)).unwrap();
        assert_eq!(replies(&server.out)[0].1, option_reply::ERR_INVALID, "not twice");
        server.receive(&go_bytes(option::GO, NAME, &[])).unwrap();
        let negotiated = server.negotiated().unwrap();
        assert_eq!((negotiated.framing, negotiated.contexts), (Framing::Simple, ContextSet::EMPTY));
        assert!(negotiated.is_secure);
    }
    assert_eq!(last(TlsMode::None, &[bare(option::STARTTLS)]).1.1, option_reply::ERR_UNSUP);
    assert_eq!(last(TlsMode::Required, &[option_bytes(option::STARTTLS, b"x")]).1.1, option_reply::ERR_INVALID);
}

#[test]
fn plaintext_sent_ahead_of_tls_ends_the_connection() {
    let injected = [bare(option::STARTTLS), go_bytes(option::GO, NAME, &[])].concat();
    for cut in 0..=injected.len() {
        let mut server = Server::with_tls(TlsMode::Offered);
        server.receive(&[0, 0, 0, 3]).unwrap();
        let (first, second) = injected.split_at(cut);
        let result = server.receive(first).and_then(|()| server.receive(second));
        assert_eq!(result, Err(ServerError::PlaintextAfterStartTls), "cut at {cut}");
        assert!(server.exports.asked.take().is_empty() && server.negotiated().is_none());
    }
}

#[test]
fn saying_that_tls_runs_means_nothing_at_any_other_time() {
    let mut server = Server::with_tls(TlsMode::Required);
    server.receive(&[0, 0, 0, 3]).unwrap();
    server.secured();
    server.out.clear();
    server.receive(&go_bytes(option::GO, NAME, &[])).unwrap();
    assert_eq!(replies(&server.out)[0].1, option_reply::ERR_TLS_REQD);
}

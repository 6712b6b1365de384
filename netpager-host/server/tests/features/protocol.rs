//! The parts of the protocol that need a store to be seen: extended headers, contexts, quick zeroes.

use nbd::client::{TlsWish, Wishes};
use nbd::{CommandFlags, Framing, NbdError, Request, StateFlags, TransmissionFlags, context};

use crate::common::{Connection, Service};

const CONTEXTS: Wishes =
    Wishes { tls: TlsWish::Never, framing: Framing::Extended, contexts: &[context::ALLOCATION, context::STATE], capabilities: &[] };

fn connect(service: &Service, export: &str, framing: Framing) -> Connection {
    Connection::open_with(service.tcp(), export, &Wishes { framing, ..CONTEXTS }).unwrap()
}

#[test]
fn what_is_where_is_told_in_two_contexts() {
    let service = Service::start(&["--export", "memory=1T,quota=4M"]);
    for framing in [Framing::Structured, Framing::Extended] {
        let mut client = connect(&service, "memory", framing);
        assert_eq!(client.session().framing, framing);
        client.write(8192, &[1; 4096]).unwrap();
        let done = client.ask(Request::block_status(0, 1 << 20), &[]);
        assert_eq!(done.result, Ok(()));
        let of =
            |context| done.extents.iter().filter(|(of, ..)| *of == context).map(|(_, length, flags)| (*length, *flags)).collect::<Vec<_>>();
        assert_eq!(of(0), [(8192, 3), (4096, 0), ((1 << 20) - 12288, 3)]);
        let resident = u64::from(StateFlags::RESIDENT.bits());
        assert_eq!(of(1), [(8192, 0), (4096, resident), ((1 << 20) - 12288, 0)]);
    }
}

#[test]
fn large_ranges_need_one_request_with_extended_headers() {
    let service = Service::start(&["--export", "memory=1T,quota=4M"]);
    let mut client = connect(&service, "memory", Framing::Extended);
    client.write(1 << 39, &[1; 4096]).unwrap();
    let done = client.ask(Request::block_status(0, 1 << 40), &[]);
    let allocation: Vec<_> = done.extents.iter().filter(|(context, ..)| *context == 0).collect();
    assert_eq!((allocation.len(), allocation[0].1), (3, 1 << 39));
    assert_eq!(client.ask(Request::write_zeroes(0, 1 << 40), &[]).result, Ok(()));
    assert_eq!(client.read(1 << 39, 4096), [0; 4096]);
    assert_eq!(client.force(Request::trim(1 << 39, u64::MAX)).result, Err(NbdError::Invalid));
}

#[test]
fn zeroes_are_quick_and_reservations_are_kept() {
    let service = Service::start(&["--export", "memory=1M,quota=64K"]);
    let mut client = service.connect("memory");
    assert!(client.session().export.can(TransmissionFlags::SEND_FAST_ZERO));
    assert_eq!(client.ask(Request::write_zeroes(0, 1 << 20).with(CommandFlags::FAST_ZERO), &[]).result, Ok(()));
    let reserve = Request::write_zeroes(0, 1 << 20).with(CommandFlags::NO_HOLE);
    assert_eq!(client.ask(reserve, &[]).result, Err(NbdError::NoSpace));
    assert!(client.error_text().contains("65536"), "{}", client.error_text());
}

#[test]
fn requests_of_all_framings_give_the_same_bytes() {
    let service = Service::start(&["--export", "memory=16M", "--export", "slow=16M,delay=1"]);
    for export in ["memory", "slow"] {
        for (round, framing) in [Framing::Simple, Framing::Structured, Framing::Extended].into_iter().enumerate() {
            let wishes = Wishes { framing, contexts: &[], ..CONTEXTS };
            let mut client = Connection::open_with(service.tcp(), export, &wishes).unwrap();
            assert_eq!(client.session().framing, framing);
            let data: Vec<u8> = (0..3 << 20).map(|at: u32| (at.wrapping_mul(2_654_435_761) >> 24) as u8 ^ round as u8).collect();
            client.write(4097, &data).unwrap();
            assert!(client.read(4097, 3 << 20) == data, "{export} {framing:?}");
            assert_eq!(client.force(Request::read(16 << 20, 1)).result, Err(NbdError::Invalid));
            assert_eq!(client.read(0, 4097), [0; 4097]);
        }
    }
}

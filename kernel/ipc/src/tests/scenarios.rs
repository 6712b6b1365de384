//! One behaviour each, with the bits and codes of the published interface.

use std::vec;
use std::vec::Vec;

use abi::call::mach_port::right;
use abi::message::{Descriptor, Reader, kind};
use abi::{Code, Header};

use super::world::{Seen, World, message, out_of_line, rights};
use crate::{NAME_DEAD, Port, UREFS_MAX, Wake};

const A: usize = 0;
const B: usize = 1;

fn header(bytes: &[u8]) -> Header {
    Header::read(bytes).unwrap()
}

fn plain(to: u32, id: i32) -> Vec<u8> {
    message((to, kind::COPY_SEND), (0, 0), id, &[])
}

/// A port of B, and the name that A has to send to it.
fn served() -> (World, u32, u32) {
    let mut world = World::new(2);
    let port = world.allocate(B, right::RECEIVE).unwrap();
    // So that the names differ.
    world.allocate(A, right::DEAD_NAME).unwrap();
    let name = world.send_right(B, port, A);
    (world, port, name)
}

fn end(world: World) {
    world.check();
    world.end();
}

#[test]
fn a_call_and_its_reply_look_as_published() {
    let (mut world, port, name) = served();
    let reply = world.allocate(A, right::RECEIVE).unwrap();
    let request = message((name, kind::COPY_SEND), (reply, kind::MAKE_SEND_ONCE), 2021, &[]);
    assert_eq!(world.send(A, request, false), Code::SUCCESS);
    let (bytes, code) = world.receive(B, port, 32, false, false).unwrap();
    let got = header(&bytes);
    assert_eq!((code, got.bits, got.local, got.id, got.seqno), (Code::SUCCESS, 0x1112, port.into(), 2021, 0));
    let answer = message((got.remote as u32, kind::MOVE_SEND_ONCE), (0, 0), 2121, &[]);
    assert_eq!(world.send(B, answer, false), Code::SUCCESS);
    assert_eq!(world.spaces[B].type_of(got.remote as u32), Err(Code::INVALID_NAME), "used up");
    let (bytes, _) = world.receive(A, reply, 32, false, false).unwrap();
    let got = header(&bytes);
    assert_eq!((got.bits, got.local, got.remote, got.size), (0x1200, reply.into(), 0, 32));
    end(world);
}

#[test]
fn a_waiting_thread_gets_the_message_at_once_and_numbers_count() {
    let (mut world, port, name) = served();
    let waiter = world.receive(B, port, 64, false, true).unwrap_err().unwrap();
    assert_eq!(world.send(A, plain(name, 1), false), Code::SUCCESS);
    let Some(Seen::Message { waiter: got, bytes, .. }) = world.seen.pop() else { panic!() };
    assert_eq!((got, header(&bytes).seqno), (waiter, 0));
    world.send(A, plain(name, 2), false);
    assert_eq!(header(&world.receive(B, port, 64, false, false).unwrap().0).seqno, 1);
    assert_eq!(world.receive(B, port, 64, false, false).unwrap().1, Code::RCV_TIMED_OUT);
    end(world);
}

#[test]
fn a_payload_replaces_the_name() {
    let (mut world, port, name) = served();
    world.spaces[B].set_protected_payload(port, Some(0xdead_beef_1234)).unwrap();
    world.send(A, plain(name, 1), false);
    let got = header(&world.receive(B, port, 64, false, false).unwrap().0);
    assert_eq!((got.local_kind(), got.local), (kind::PROTECTED_PAYLOAD, 0xdead_beef_1234));
    world.spaces[B].set_protected_payload(port, None).unwrap();
    world.send(A, plain(name, 1), false);
    assert_eq!(header(&world.receive(B, port, 64, false, false).unwrap().0).local, port.into());
    end(world);
}

#[test]
fn bad_headers_have_their_codes_and_change_nothing() {
    let (mut world, port, name) = served();
    let refs = |world: &World| world.spaces[A].get_refs(name, right::SEND).unwrap();
    assert_eq!(world.send(A, plain(99, 1), false), Code::SEND_INVALID_DEST);
    assert_eq!(world.send(A, plain(1, 1), false), Code::SEND_INVALID_DEST, "a dead name");
    let bad_reply = message((name, kind::MOVE_SEND), (99, kind::MAKE_SEND_ONCE), 1, &[]);
    assert_eq!(world.send(A, bad_reply, false), Code::SEND_INVALID_REPLY);
    assert_eq!(refs(&world), 1, "atomic");
    let odd = message((name, kind::MOVE_RECEIVE), (0, 0), 1, &[]);
    assert_eq!(world.send(A, odd, false), Code::SEND_INVALID_HEADER);
    let odd = message((name, kind::COPY_SEND), (5, 0), 1, &[]);
    assert_eq!(world.send(A, odd, false), Code::SEND_INVALID_HEADER);
    let both = message((name, kind::MOVE_SEND), (name, kind::MOVE_SEND), 1, &[]);
    assert_eq!(world.send(A, both.clone(), false), Code::SEND_INVALID_DEST, "one reference can't be moved twice");
    world.spaces[A].mod_refs(name, right::SEND, 1, &mut world.effects).unwrap();
    assert_eq!(world.send(A, both, false), Code::SUCCESS);
    assert_eq!(world.spaces[A].type_of(name), Err(Code::INVALID_NAME));
    assert_eq!(world.receive(B, port, 64, false, false).unwrap().1, Code::SUCCESS);
    assert_eq!(world.receive(B, 99, 64, false, false).unwrap().1, Code::RCV_INVALID_NAME);
    end(world);
}

#[test]
fn a_dead_port_leaves_dead_names_with_their_references() {
    let (mut world, port, name) = served();
    world.spaces[A].mod_refs(name, right::SEND, 2, &mut world.effects).unwrap();
    let notify = world.allocate(A, right::RECEIVE).unwrap();
    let once = world.spaces[A].extract_right(notify, kind::MAKE_SEND_ONCE, &mut world.effects).unwrap();
    assert!(world.spaces[A].request_notification(name, 72, 0, Some(once), &mut world.effects).unwrap().is_none());
    assert_eq!(world.spaces[A].type_of(name), Ok(right::type_bit(right::SEND) | crate::TYPE_DEAD_NAME_REQUEST));
    world.spaces[B].destroy_name(port, &mut world.effects).unwrap();
    world.drain();
    assert_eq!(world.spaces[A].type_of(name), Ok(right::type_bit(right::DEAD_NAME)));
    assert_eq!(world.spaces[A].get_refs(name, right::DEAD_NAME), Ok(4), "the notification's reference included");
    let (bytes, _) = world.receive(A, notify, 64, false, false).unwrap();
    assert_eq!((header(&bytes).id, bytes.len(), header(&bytes).bits), (72, 48, 0x1200));
    assert_eq!(&bytes[32..44], [0x0f, 0x20, 0, 0x20, 1, 0, 0, 0, name as u8, 0, 0, 0]);
    assert_eq!(world.spaces[A].mod_refs(name, right::DEAD_NAME, -5, &mut world.effects), Err(Code::INVALID_VALUE));
    world.spaces[A].mod_refs(name, right::DEAD_NAME, -4, &mut world.effects).unwrap();
    assert_eq!(world.spaces[A].type_of(name), Err(Code::INVALID_NAME));
    end(world);
}

/// Asks that an event at `name` of a space be told to a new port there; its name.
fn ask(world: &mut World, space: usize, name: u32, id: i32, sync: u32) -> u32 {
    let notify = world.allocate(space, right::RECEIVE).unwrap();
    let at = world.spaces[space].clone();
    let once = at.extract_right(notify, kind::MAKE_SEND_ONCE, &mut world.effects).unwrap();
    assert!(at.request_notification(name, id, sync, Some(once), &mut world.effects).unwrap().is_none());
    world.drain();
    notify
}

fn id_at(world: &mut World, space: usize, port: u32) -> Option<i32> {
    let (bytes, code) = world.receive(space, port, 64, false, false).unwrap();
    (code == Code::SUCCESS).then(|| header(&bytes).id)
}

#[test]
fn the_last_sender_is_told_with_the_make_send_count() {
    let (mut world, port, name) = served();
    let notify = ask(&mut world, B, port, 70, 0);
    world.spaces[A].deallocate(name, &mut world.effects).unwrap();
    world.drain();
    let (bytes, _) = world.receive(B, notify, 64, false, false).unwrap();
    assert_eq!((header(&bytes).id, bytes[40]), (70, 1));
    let again = ask(&mut world, B, port, 70, 1);
    assert_eq!(id_at(&mut world, B, again), Some(70), "at once: it was told of one, and that is gone");
    let later = ask(&mut world, B, port, 70, 2);
    assert_eq!(id_at(&mut world, B, later), None);
    end(world);
}

#[test]
fn an_unused_send_once_right_still_makes_a_message() {
    let mut world = World::new(2);
    let port = world.allocate(A, right::RECEIVE).unwrap();
    let once = world.spaces[A].extract_right(port, kind::MAKE_SEND_ONCE, &mut world.effects).unwrap();
    let name = world.spaces[B].insert(once, &mut world.effects).unwrap();
    world.spaces[B].deallocate(name, &mut world.effects).unwrap();
    world.drain();
    assert_eq!(id_at(&mut world, A, port), Some(71));
    end(world);
}

#[test]
fn a_port_destroyed_request_saves_the_port_and_its_messages() {
    let (mut world, port, name) = served();
    let notify = ask(&mut world, B, port, 69, 0);
    world.send(A, plain(name, 5), false);
    world.spaces[B].destroy_name(port, &mut world.effects).unwrap();
    world.drain();
    let (bytes, code) = world.receive(B, notify, 64, false, false).unwrap();
    assert_eq!((code, header(&bytes).id, header(&bytes).is_complex()), (Code::SUCCESS, 69, true));
    let saved = u32::from_le_bytes(bytes[40..44].try_into().unwrap());
    assert_eq!(bytes[32], kind::MOVE_RECEIVE);
    assert_eq!(id_at(&mut world, B, saved), Some(5));
    end(world);
}

#[test]
fn a_name_that_goes_with_its_request_is_told() {
    let (mut world, _, name) = served();
    let notify = ask(&mut world, A, name, 72, 0);
    world.spaces[A].deallocate(name, &mut world.effects).unwrap();
    world.drain();
    assert_eq!(id_at(&mut world, A, notify), Some(65));
    end(world);
}

#[test]
fn references_end_at_their_limit() {
    let (mut world, port, name) = served();
    let most = i32::from(UREFS_MAX);
    let change = |world: &mut World, delta| world.spaces[A].mod_refs(name, right::SEND, delta, &mut world.effects);
    assert_eq!(change(&mut world, most - 1), Ok(()));
    assert_eq!(change(&mut world, 1), Err(Code::UREFS_OVERFLOW));
    assert_eq!(change(&mut world, -most - 1), Err(Code::INVALID_VALUE));
    assert_eq!(world.send_right(B, port, A), name, "pinned");
    let right = world.spaces[B].extract_right(port, kind::MAKE_SEND, &mut world.effects).unwrap();
    assert_eq!(world.spaces[A].insert_right(name, right, &mut world.effects), Err(Code::UREFS_OVERFLOW));
    world.drain();
    assert_eq!(world.spaces[A].get_refs(name, right::SEND), Ok(UREFS_MAX.into()));
    end(world);
}

#[test]
fn send_and_receive_merge_under_one_name() {
    let mut world = World::new(2);
    let port = world.allocate(A, right::RECEIVE).unwrap();
    assert_eq!(world.send_right(A, port, A), port);
    assert_eq!(world.spaces[A].type_of(port), Ok(right::type_bit(right::SEND) | right::type_bit(right::RECEIVE)));
    let again = world.spaces[A].extract_right(port, kind::COPY_SEND, &mut world.effects).unwrap();
    assert_eq!(world.spaces[A].insert_right(port + 1, again, &mut world.effects), Err(Code::RIGHT_EXISTS));
    let notify = ask(&mut world, A, port, 72, 0);
    world.spaces[A].deallocate(port, &mut world.effects).unwrap();
    world.drain();
    assert_eq!(id_at(&mut world, A, notify), None, "the request is the name's, which stays");
    assert_eq!(world.spaces[A].deallocate(port, &mut world.effects), Err(Code::INVALID_RIGHT));
    world.spaces[A].rename(port, 700).unwrap();
    assert_eq!(world.send_right(A, 700, A), 700);
    assert_eq!(world.spaces[A].allocate_name(right::RECEIVE, 700), Err(Code::NAME_EXISTS));
    end(world);
}

#[test]
fn a_message_that_is_too_large_stays_or_goes_as_asked() {
    let (mut world, port, name) = served();
    let large = message((name, kind::COPY_SEND), (0, 0), 7, &[(Descriptor::inline(kind::CHAR, 8, 100), vec![0; 100])]);
    assert_eq!(world.receive(B, port, 32, true, true).unwrap_err(), Some(1), "the first thread");
    world.send(A, large.clone(), false);
    assert_eq!(world.seen.pop(), Some(Seen::Woken(1, Wake::TooLarge(144))));
    assert_eq!(world.receive(B, port, 32, true, false).unwrap().1, Code::RCV_TOO_LARGE);
    assert_eq!(world.spaces[B].receive_status(port).unwrap().messages, 1);
    let (bytes, code) = world.receive(B, port, 32, false, false).unwrap();
    assert_eq!((code, bytes.len(), header(&bytes).size), (Code::RCV_TOO_LARGE, 32, 144));
    assert_eq!(world.spaces[B].receive_status(port).unwrap().messages, 0);
    end(world);
}

#[test]
fn a_full_queue_blocks_and_gives_rights_back() {
    let (mut world, port, name) = served();
    for id in 0..5 {
        assert_eq!(world.send(A, plain(name, id), false), Code::SUCCESS);
    }
    world.spaces[A].mod_refs(name, right::SEND, 1, &mut world.effects).unwrap();
    let carried = world.allocate(A, right::RECEIVE).unwrap();
    let moving = message((name, kind::MOVE_SEND), (0, 0), 9, &[rights(kind::MOVE_RECEIVE, &[carried])]);
    assert_eq!(world.send(A, moving, false), Code::SEND_TIMED_OUT);
    let Some(Seen::Message { bytes, code, .. }) = world.seen.pop() else { panic!() };
    assert_eq!((code, header(&bytes).remote, header(&bytes).remote_kind()), (Code(0), name.into(), kind::MOVE_SEND));
    assert_eq!(world.spaces[A].type_of(carried), Ok(right::type_bit(right::RECEIVE)));
    assert_eq!(world.send(A, plain(name, 5), true), Code::SUCCESS);
    assert_eq!((world.blocked.len(), id_at(&mut world, B, port)), (1, Some(0)));
    assert!(world.blocked.is_empty());
    for id in 1..6 {
        assert_eq!(id_at(&mut world, B, port), Some(id));
    }
    end(world);
}

#[test]
fn members_of_a_set_take_turns() {
    let (mut world, one, to_one) = served();
    let two = world.allocate(B, right::RECEIVE).unwrap();
    let to_two = world.send_right(B, two, A);
    let set = world.allocate(B, right::PORT_SET).unwrap();
    for id in 0..3 {
        world.send(A, plain(to_one, id), false);
    }
    for member in [one, two] {
        world.spaces[B].move_member(member, set, &mut world.effects).unwrap();
    }
    world.send(A, plain(to_two, 10), false);
    let order: Vec<_> = (0..4).map(|_| id_at(&mut world, B, set).unwrap()).collect();
    assert_eq!(order, [0, 10, 1, 2]);
    assert_eq!(world.receive(B, one, 64, false, false).unwrap().1, Code::RCV_IN_SET);
    let waiter = world.receive(B, set, 64, false, true).unwrap_err().unwrap();
    world.spaces[B].destroy_name(set, &mut world.effects).unwrap();
    world.drain();
    assert_eq!(world.seen.pop(), Some(Seen::Woken(waiter, Wake::Receive(Code::RCV_PORT_DIED))));
    assert_eq!(world.receive(B, one, 64, false, false).unwrap().1, Code::RCV_TIMED_OUT);
    assert_eq!(world.spaces[B].move_member(one, 0, &mut world.effects), Err(Code::NOT_IN_SET));
    end(world);
}

#[test]
fn a_port_queued_in_its_own_queue_ends() {
    let mut world = World::new(1);
    let names: Vec<_> = (0..3).map(|_| world.allocate(A, right::RECEIVE).unwrap()).collect();
    names.iter().for_each(|name| assert_eq!(world.send_right(A, *name, A), *name));
    for (index, name) in names.iter().enumerate() {
        let next = names[(index + 1) % 3];
        let carry = message((next, kind::COPY_SEND), (0, 0), 1, &[rights(kind::MOVE_RECEIVE, &[*name])]);
        assert_eq!(world.send(A, carry, false), Code::SUCCESS);
        world.check();
    }
    names.iter().for_each(|name| assert_eq!(world.spaces[A].type_of(*name), Ok(right::type_bit(right::DEAD_NAME))));
    end(world);
}

#[test]
fn a_tower_of_queued_ports_ends_without_recursion() {
    let mut world = World::new(1);
    let mut below = world.allocate(A, right::RECEIVE).unwrap();
    for _ in 0..5000 {
        let name = world.allocate(A, right::RECEIVE).unwrap();
        world.send_right(A, name, A);
        let carry = message((name, kind::MOVE_SEND), (0, 0), 1, &[rights(kind::MOVE_RECEIVE, &[below])]);
        assert_eq!(world.send(A, carry, false), Code::SUCCESS);
        below = name;
    }
    end(world);
}

#[test]
fn rights_arrays_and_memory_arrive() {
    let (mut world, port, name) = served();
    let carried = world.allocate(A, right::RECEIVE).unwrap();
    world.carrier.arrays.insert(5, vec![carried, 0, carried]);
    let items = [
        rights(kind::MAKE_SEND, &[carried, 0, NAME_DEAD]),
        out_of_line(kind::MAKE_SEND_ONCE, 32, 3, 5),
        out_of_line(kind::BYTE, 8, 10_000, 0x4000),
        out_of_line(kind::BYTE, 8, 0, 0),
    ];
    assert_eq!(world.send(A, message((name, kind::COPY_SEND), (0, 0), 1, &items), false), Code::SUCCESS);
    let (bytes, code) = world.receive(B, port, 4096, false, false).unwrap();
    assert_eq!((code, header(&bytes).is_complex()), (Code::SUCCESS, true));
    let mut reader = Reader::new(&bytes);
    let (line, slots) = reader.item().unwrap();
    let sender = u32::from_le_bytes(slots[..4].try_into().unwrap());
    assert_eq!((line.name, world.spaces[B].type_of(sender)), (kind::MOVE_SEND, Ok(right::type_bit(right::SEND))));
    assert_eq!(&slots[8..], [0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
    let (array, pointer) = reader.item().unwrap();
    let address = u64::from_le_bytes(pointer.try_into().unwrap());
    let names = world.carrier.arrays[&address].clone();
    assert_eq!((array.name, array.bits, array.deallocate, names.len(), names[1]), (kind::MOVE_SEND_ONCE, 32, true, 3, 0));
    assert_ne!(names[0], names[2], "each its own name");
    let (memory, pointer) = reader.item().unwrap();
    assert!(memory.deallocate && memory.number == 10_000 && pointer != [0; 8]);
    assert_eq!(reader.item().unwrap().1, [0; 8]);
    end(world);
}

#[test]
fn what_finds_no_room_is_told_and_leaks_nothing() {
    let (mut world, port, name) = served();
    let carried = world.allocate(A, right::RECEIVE).unwrap();
    world.carrier.arrays.insert(5, vec![carried]);
    let items = [out_of_line(kind::MAKE_SEND, 32, 1, 5), out_of_line(kind::BYTE, 8, 10, 0x4000)];
    world.send(A, message((name, kind::COPY_SEND), (0, 0), 1, &items), false);
    world.carrier.fail_out = true;
    let (bytes, code) = world.receive(B, port, 4096, false, false).unwrap();
    assert_eq!(code, Code(Code::RCV_BODY_ERROR.0 | abi::code::MSG_VM_SPACE));
    let (array, pointer) = Reader::new(&bytes).item().unwrap();
    assert_eq!((array.bits, pointer), (0, [0; 8].as_slice()));
    assert!(!world.spaces[A].receive_status(carried).unwrap().has_senders, "the right that was not seen has ended");
    end(world);
}

#[test]
fn a_bad_body_has_its_code_and_ends_what_was_taken() {
    let (mut world, _, name) = served();
    let carried = world.allocate(A, right::RECEIVE).unwrap();
    let mut try_send = |items: &[(Descriptor, Vec<u8>)]| world.send(A, message((name, kind::COPY_SEND), (0, 0), 1, items), false);
    assert_eq!(try_send(&[rights(kind::MAKE_SEND, &[carried]), rights(kind::COPY_SEND, &[99])]), Code::SEND_INVALID_RIGHT);
    assert_eq!(try_send(&[out_of_line(kind::BYTE, 8, 10, 0)]), Code::SEND_INVALID_MEMORY);
    assert_eq!(try_send(&[out_of_line(kind::MAKE_SEND, 64, 1, 5)]), Code::SEND_INVALID_TYPE);
    let deallocated = Descriptor { deallocate: true, ..Descriptor::inline(kind::MAKE_SEND, 64, 1) };
    assert_eq!(try_send(&[(deallocated, vec![0; 8])]), Code::SEND_INVALID_TYPE);
    assert_eq!(
        try_send(&[rights(kind::MAKE_SEND, &[carried]), (Descriptor::inline(kind::CHAR, 8, 999), vec![0; 8])]),
        Code::SEND_MSG_TOO_SMALL
    );
    assert_eq!(world.send(A, plain(name, 1)[..28].to_vec().into_iter().chain([0; 8]).collect(), false), Code::SEND_MSG_TOO_SMALL);
    end(world);
}

#[test]
fn a_kernel_port_executes_tells_of_no_senders_and_dies() {
    let mut world = World::new(1);
    let port = Port::new_kernel(42).unwrap();
    world.note(&port);
    let name = world.spaces[A].insert(port.make_send(), &mut world.effects).unwrap();
    assert_eq!(world.spaces[A].object(name), Ok(42));
    world.send(A, plain(name, 2008), false);
    assert_eq!(world.seen.pop(), Some(Seen::Kernel(42, 2008)));
    world.spaces[A].deallocate(name, &mut world.effects).unwrap();
    world.drain();
    assert_eq!(world.seen.pop(), Some(Seen::NoSenders(42)));
    let name = world.spaces[A].insert(port.make_send(), &mut world.effects).unwrap();
    assert_eq!(port.kill(&mut world.effects), Some(42));
    assert_eq!(world.spaces[A].type_of(name), Ok(right::type_bit(right::DEAD_NAME)));
    drop(port);
    end(world);
}

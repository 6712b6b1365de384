//! Random steps on two spaces. After each every count must be right; at the end nothing may be left.

use std::vec;
use std::vec::Vec;

use abi::message::kind;
use proptest::prelude::*;

use super::world::{Fake, World, message, out_of_line, rights};
use crate::entry::Entry;
use crate::{Port, Space};

#[derive(Clone, Debug)]
enum Step {
    Allocate(usize, u32),
    AllocateName(usize, u32, u32),
    Deallocate(usize, u32),
    ModRefs(usize, u32, u32, i32),
    Destroy(usize, u32),
    Rename(usize, u32, u32),
    /// Extract from one space, insert into another, under a name or any.
    Pass(usize, u32, u8, usize, Option<u32>),
    Send {
        space: usize,
        remote: (u32, u8),
        local: (u32, u8),
        body: Vec<Body>,
        wait: bool,
    },
    Receive {
        space: usize,
        name: u32,
        small: bool,
        large: bool,
        wait: bool,
        set: bool,
    },
    Abort(usize),
    Move(usize, u32, u32),
    Notify(usize, u32, i32, u32, Option<u32>),
    Limit(usize, u32, u32),
    Kernel(usize),
    Kill(usize),
    EndSpace(usize),
    FailOut(bool),
}

#[derive(Clone, Debug)]
enum Body {
    Rights(u8, Vec<u32>),
    Array(u8, Vec<u32>),
    Memory(u64),
    Bytes,
}

/// Picks a name when the step is done: mostly one that fits.
fn name() -> impl Strategy<Value = u32> + Clone {
    0u32..96
}

fn fits(entry: &Entry<Fake>, kind: u8) -> bool {
    match entry {
        Entry::Port { receive: true, .. } if matches!(kind, kind::MOVE_RECEIVE | kind::MAKE_SEND | kind::MAKE_SEND_ONCE) => true,
        Entry::Port { urefs: 1.., .. } => matches!(kind, kind::MOVE_SEND | kind::COPY_SEND),
        Entry::SendOnce { .. } => kind == kind::MOVE_SEND_ONCE,
        Entry::Set(_) => kind == SET,
        _ => false,
    }
}

/// Beside the dispositions: a set, or anything.
const SET: u8 = 0;
const ANY: u8 = 1;

fn disposition() -> impl Strategy<Value = u8> {
    kind::MOVE_RECEIVE..=kind::MAKE_SEND_ONCE
}

fn body() -> impl Strategy<Value = Body> {
    let names = prop::collection::vec(name(), 0..3);
    prop_oneof![
        4 => (disposition(), names.clone()).prop_map(|(kind, names)| Body::Rights(kind, names)),
        1 => (disposition(), names).prop_map(|(kind, names)| Body::Array(kind, names)),
        1 => (0u64..3).prop_map(Body::Memory),
        1 => Just(Body::Bytes),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let space = 0usize..2;
    let local = prop_oneof![2 => Just((0, 0)), 3 => (name(), disposition())];
    let sent = (space.clone(), (name(), disposition()), local, prop::collection::vec(body(), 0..3), any::<bool>());
    prop_oneof![
        6 => (space.clone(), 0u32..5).prop_map(|(space, right)| Step::Allocate(space, right.max(1))),
        1 => (space.clone(), 1u32..5, name()).prop_map(|(space, right, name)| Step::AllocateName(space, right, name)),
        2 => (space.clone(), name()).prop_map(|(space, name)| Step::Deallocate(space, name)),
        2 => (space.clone(), name(), 0u32..6, -2i32..3).prop_map(|(space, name, right, delta)| Step::ModRefs(space, name, right, delta)),
        1 => (space.clone(), name()).prop_map(|(space, name)| Step::Destroy(space, name)),
        1 => (space.clone(), name(), name()).prop_map(|(space, old, new)| Step::Rename(space, old, new)),
        6 => (space.clone(), name(), disposition(), space.clone(), prop::option::weighted(0.2, name()))
            .prop_map(|(from, name, kind, to, at)| Step::Pass(from, name, kind, to, at)),
        12 => sent.prop_map(|(space, remote, local, body, wait)| Step::Send { space, remote, local, body, wait }),
        8 => (space.clone(), name(), prop::bool::weighted(0.2), any::<bool>(), any::<bool>(), any::<bool>())
            .prop_map(|(space, name, small, large, wait, set)| Step::Receive { space, name, small, large, wait, set }),
        1 => any::<usize>().prop_map(Step::Abort),
        4 => (space.clone(), name(), name()).prop_map(|(space, member, set)| Step::Move(space, member, set)),
        4 => (space.clone(), name(), prop::sample::select(std::vec![69, 70, 72, 72]), 0u32..2, prop::option::of(name()))
            .prop_map(|(space, name, id, sync, notify)| Step::Notify(space, name, id, sync, notify)),
        2 => (space.clone(), name(), 0u32..3).prop_map(|(space, name, limit)| Step::Limit(space, name, limit)),
        1 => space.clone().prop_map(Step::Kernel),
        1 => any::<usize>().prop_map(Step::Kill),
        1 => prop::option::weighted(0.3, space).prop_map(|space| space.map_or(Step::Kill(0), Step::EndSpace)),
        1 => any::<bool>().prop_map(Step::FailOut),
    ]
}

impl World {
    fn choose(&self, space: usize, pick: u32, kind: u8) -> u32 {
        let odd = [0, u32::MAX, 1, 2, 3, 5, 20, 21];
        if pick.is_multiple_of(12) {
            return odd[pick as usize / 12 % odd.len()];
        }
        let names = self.spaces[space].lock();
        let fitting: Vec<u32> = names.table.iter().filter(|(_, entry)| kind == ANY || fits(entry, kind)).map(|(name, _)| name).collect();
        fitting.get(pick as usize / 12 % fitting.len().max(1)).copied().unwrap_or(1)
    }

    fn items(&mut self, space: usize, body: &[Body]) -> Vec<(abi::message::Descriptor, Vec<u8>)> {
        let item = |world: &mut Self, body: &Body| match body {
            Body::Rights(kind, picks) => {
                let names: Vec<u32> = picks.iter().map(|pick| world.choose(space, *pick, *kind)).collect();
                rights(*kind, &names)
            }
            Body::Array(kind, picks) => {
                let names: Vec<u32> = picks.iter().map(|pick| world.choose(space, *pick, *kind)).collect();
                world.carrier.arrays.insert(77, names.clone());
                out_of_line(*kind, 32, names.len() as u32, 77)
            }
            Body::Memory(address) => out_of_line(kind::BYTE, 8, 100, *address),
            Body::Bytes => (abi::message::Descriptor::inline(kind::CHAR, 8, 40), std::vec![1; 40]),
        };
        body.iter().map(|part| item(self, part)).collect()
    }

    fn pass(&mut self, from: usize, name: u32, kind: u8, to: usize, at: Option<u32>) {
        if let Ok(right) = self.spaces[from].extract_right(name, kind, &mut self.effects) {
            let _ = match at {
                Some(name) => self.spaces[to].insert_right(name, right, &mut self.effects),
                None => self.spaces[to].insert(right, &mut self.effects).map(|_| ()),
            };
        }
    }

    fn notify(&mut self, space: usize, name: u32, id: i32, sync: u32, notify: Option<u32>) {
        let space = self.spaces[space].clone();
        let notify = notify.and_then(|name| space.extract_right(name, kind::MAKE_SEND_ONCE, &mut self.effects).ok());
        if let Ok(Some(previous)) = space.request_notification(name, id, sync, notify, &mut self.effects) {
            previous.destroy(&mut self.effects);
        }
    }

    fn kernel_port(&mut self, space: usize) {
        let port = Port::new_kernel(self.ports.len() as u32).unwrap();
        self.note(&port);
        let _ = self.spaces[space].insert(port.make_send(), &mut self.effects);
    }

    fn end_space(&mut self, space: usize) {
        self.spaces[space].destroy(&mut self.effects);
        self.drain();
        // Its threads are gone with it.
        let gone = |at: &usize| *at == space;
        let waiting = self.waiting.iter().filter(|(_, (at, _))| gone(at)).map(|(waiter, _)| *waiter);
        let blocked = self.blocked.iter().filter(|(_, (at, ..))| gone(at)).map(|(waiter, _)| *waiter);
        let all: Vec<u32> = waiting.chain(blocked).collect();
        all.into_iter().for_each(|waiter| self.abort(waiter));
        self.spaces[space] = Space::<Fake>::new().unwrap();
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Allocate(space, right) => {
                let _ = self.allocate(space, right);
            }
            Step::Send { space, remote, local, body, wait } => {
                let items = self.items(space, &body);
                let remote = (self.choose(space, remote.0, remote.1), remote.1);
                let local = if local.1 == 0 { (0, 0) } else { (self.choose(space, local.0, local.1), local.1) };
                let _ = self.send(space, message(remote, local, 1000, &items), wait);
            }
            Step::Receive { space, name, small, large, wait, set } => {
                let name = self.choose(space, name, if set { SET } else { kind::MOVE_RECEIVE });
                let _ = self.receive(space, name, if small { 32 } else { 4096 }, large, wait);
            }
            Step::Abort(which) => {
                let all: Vec<u32> = self.waiting.keys().chain(self.blocked.keys()).copied().collect();
                all.get(which % all.len().max(1)).copied().into_iter().for_each(|waiter| self.abort(waiter));
            }
            Step::Kernel(space) => self.kernel_port(space),
            Step::Kill(which) => {
                let port = self.ports.get(which % self.ports.len().max(1)).cloned();
                port.and_then(|port| port.kill(&mut self.effects));
            }
            Step::EndSpace(space) => self.end_space(space),
            Step::FailOut(fail) => self.carrier.fail_out = fail,
            names => self.step_names(names),
        }
        self.drain();
    }

    fn step_names(&mut self, step: Step) {
        let spaces = self.spaces.clone();
        match step {
            Step::AllocateName(space, right, name) => {
                if spaces[space].allocate_name(right, name % 24).is_ok() {
                    self.note_name(space, name % 24);
                }
            }
            Step::Deallocate(space, pick) => {
                let _ = spaces[space].deallocate(self.choose(space, pick, ANY), &mut self.effects);
            }
            Step::ModRefs(space, pick, right, delta) => {
                let kinds = [kind::MOVE_SEND, kind::MOVE_RECEIVE, kind::MOVE_SEND_ONCE, SET, ANY, ANY];
                let name = self.choose(space, pick, kinds[right as usize]);
                let _ = spaces[space].mod_refs(name, right, delta, &mut self.effects);
            }
            Step::Destroy(space, pick) => {
                let _ = spaces[space].destroy_name(self.choose(space, pick, ANY), &mut self.effects);
            }
            Step::Rename(space, pick, new) => {
                let _ = spaces[space].rename(self.choose(space, pick, ANY), new % 24);
            }
            Step::Pass(from, pick, kind, to, at) => {
                let at = at.map(|pick| self.choose(to, pick, ANY));
                self.pass(from, self.choose(from, pick, kind), kind, to, at);
            }
            Step::Move(space, member, set) => {
                let (member, set) = (self.choose(space, member, kind::MOVE_RECEIVE), self.choose(space, set, SET));
                let _ = spaces[space].move_member(member, set, &mut self.effects);
            }
            Step::Notify(space, pick, id, sync, notify) => {
                let name = self.choose(space, pick, if id == 72 { ANY } else { kind::MOVE_RECEIVE });
                let notify = notify.map(|pick| self.choose(space, pick, kind::MAKE_SEND_ONCE));
                self.notify(space, name, id, sync, notify);
            }
            Step::Limit(space, pick, limit) => {
                let name = self.choose(space, pick, kind::MOVE_RECEIVE);
                let _ = spaces[space].set_queue_limit(name, limit, &mut self.effects);
            }
            other => panic!("not a step on names: {other:?}"),
        }
    }
}

proptest! {
    #[test]
    fn every_count_is_right_after_every_step(steps in prop::collection::vec(step(), 1..120)) {
        let mut world = World::new(2);
        for step in steps {
            world.step(step);
            world.check();
        }
        world.end();
    }
}

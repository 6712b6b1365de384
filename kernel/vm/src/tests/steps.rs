//! The random steps of the model test.

use abi::vm::Inherit;
use proptest::prelude::{Just, Strategy, any, prop, prop_oneof};
use std::vec;

/// Tasks of the model.
pub(super) const TASKS: usize = 4;
/// Steps begin at a page below this one.
const PAGES: u64 = 90;
/// Objects with pagers of their own.
const OBJECTS: usize = 2;

/// What tasks, pagers, devices and page-out do.
#[derive(Clone, Debug)]
pub(super) enum Op {
    Allocate,
    MapObject(usize),
    CopyObject(usize),
    Alias(u64),
    Read,
    Write(u64),
    WriteBytes(u64),
    Deallocate,
    Protect(bool),
    Inherit(Inherit),
    Fork(usize),
    Kill,
    CopyTo(usize),
    MoveTo(usize),
    Overwrite(usize, u64),
    Wire,
    Unwire,
    PageOut(usize),
    Clean(usize),
    Flush(usize),
    Return(usize, Answer),
    Supply(usize, Answer),
    EndReturn(usize, bool),
    EndSupply(usize, bool),
    TakeData(usize),
    NoMemory(bool),
    Unasked(usize),
    Discard,
}

/// How a pager answers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Answer {
    Device,
    Data,
    Refuse,
}

/// An operation on pages of a task.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) task: usize,
    pub(super) page: u64,
    pub(super) pages: u64,
    pub(super) op: Op,
}

fn op() -> impl Strategy<Value = Op> {
    let answer = || prop_oneof![3 => Just(Answer::Device), 1 => Just(Answer::Data), 1 => Just(Answer::Refuse)];
    let index = || 0usize..3;
    let inherit = prop_oneof![Just(Inherit::Share), Just(Inherit::Copy), Just(Inherit::None)];
    prop_oneof![
        4 => Just(Op::Allocate),
        3 => (0..OBJECTS).prop_map(Op::MapObject),
        1 => (0..OBJECTS).prop_map(Op::CopyObject),
        1 => (0..PAGES).prop_map(Op::Alias),
        6 => Just(Op::Read),
        12 => (1u64..1000).prop_map(Op::Write),
        3 => (1u64..1000).prop_map(Op::WriteBytes),
        2 => Just(Op::Deallocate),
        1 => any::<bool>().prop_map(Op::Protect),
        2 => inherit.prop_map(Op::Inherit),
        4 => (0..TASKS).prop_map(Op::Fork),
        1 => Just(Op::Kill),
        3 => (0..TASKS).prop_map(Op::CopyTo),
        3 => (0..TASKS).prop_map(Op::MoveTo),
        2 => (0..TASKS, 0..PAGES).prop_map(|(task, page)| Op::Overwrite(task, page)),
        1 => Just(Op::Wire),
        1 => Just(Op::Unwire),
        8 => (1usize..8).prop_map(Op::PageOut),
        2 => (0..OBJECTS).prop_map(Op::Clean),
        2 => (0..OBJECTS).prop_map(Op::Flush),
        6 => (index(), answer()).prop_map(|(index, answer)| Op::Return(index, answer)),
        6 => (index(), answer()).prop_map(|(index, answer)| Op::Supply(index, answer)),
        6 => (index(), any::<bool>()).prop_map(|(index, ok)| Op::EndReturn(index, ok)),
        6 => (index(), prop::bool::weighted(0.8)).prop_map(|(index, ok)| Op::EndSupply(index, ok)),
        3 => index().prop_map(Op::TakeData),
        2 => prop::bool::weighted(0.3).prop_map(Op::NoMemory),
        2 => (0..=OBJECTS).prop_map(Op::Unasked),
        2 => Just(Op::Discard),
    ]
}

/// A random step.
pub(super) fn step() -> impl Strategy<Value = Step> {
    let pages = prop_oneof![3 => 1u64..4, 1 => 4u64..80];
    (0..TASKS, 0..PAGES, pages, op()).prop_map(|(task, page, pages, op)| Step { task, page, pages, op })
}

//! Tasks made of other tasks: what a child inherits, and who sees whose changes.

use alloc::vec::Vec;

use abi::Code;
use abi::vm::{Inherit, PAGE_SIZE};
use runtime::Mapping;

use super::harness::{Outcome, Random, expect, refused, same, tests};
use super::puppet::{Sandbox, install};
use super::space::Space;

tests! {
    fork_copies_both_ways,
    fork_of_untouched_memory,
    inheritance_share_copy_none,
    fork_many_generations,
    fork_many_siblings,
    fork_outlives_its_parent,
    fork_random_writes_agree_with_a_model,
}

const PAGES: u64 = 16;
const SIZE: u64 = PAGES * PAGE_SIZE;

/// A child of this task, that can do things.
fn child(parent: Space, program: u64) -> Result<Sandbox, Code> {
    Sandbox::with(parent.fork()?, program)
}

fn fork_copies_both_ways() -> Outcome {
    let parent = Space::own();
    let program = install(parent)?;
    let memory = Mapping::anonymous(SIZE)?;
    let at = |page: u64| memory.address() + page * PAGE_SIZE;
    (0..PAGES).for_each(|page| memory.store_u64(page * PAGE_SIZE, 100 + page));
    let mut child = child(parent, program)?;
    // The parent writes first to one page, the child to another, and both look at both.
    memory.store_u64(0, 1);
    same("the child's page 0", child.puppet.load(at(0))?, Ok(100))?;
    same("a store by the child", child.puppet.store(at(1), 2)?, Ok(()))?;
    same("the parent's page 1", memory.load_u64(PAGE_SIZE), 101)?;
    same("the child's page 1", child.puppet.load(at(1))?, Ok(2))?;
    // Now the other of each.
    same("a store by the child", child.puppet.store(at(0), 3)?, Ok(()))?;
    memory.store_u64(PAGE_SIZE, 4);
    same("the parent's pages", (memory.load_u64(0), memory.load_u64(PAGE_SIZE)), (1, 4))?;
    same("the child's page 0", child.puppet.load(at(0))?, Ok(3))?;
    same("the child's page 1", child.puppet.load(at(1))?, Ok(2))?;
    for page in 2..PAGES {
        same("a page that nobody wrote", child.puppet.load(at(page))?, Ok(100 + page))?;
        same("the same of the parent", memory.load_u64(page * PAGE_SIZE), 100 + page)?;
    }
    Ok(parent.deallocate(program, PAGE_SIZE)?)
}

fn fork_of_untouched_memory() -> Outcome {
    let parent = Space::own();
    let program = install(parent)?;
    let memory = Mapping::anonymous(SIZE)?;
    let mut child = child(parent, program)?;
    same("a store by the child", child.puppet.store(memory.address(), 5)?, Ok(()))?;
    memory.store_u64(PAGE_SIZE, 6);
    same("the parent's page 0", memory.load_u64(0), 0)?;
    same("the child's page 1", child.puppet.load(memory.address() + PAGE_SIZE)?, Ok(0))?;
    Ok(parent.deallocate(program, PAGE_SIZE)?)
}

fn inheritance_share_copy_none() -> Outcome {
    let parent = Space::own();
    let program = install(parent)?;
    let [share, copy, none] = [Inherit::Share, Inherit::Copy, Inherit::None].map(|inherit| (Mapping::anonymous(SIZE), inherit));
    let memories = [share.0?, copy.0?, none.0?];
    for (memory, inherit) in memories.iter().zip([share.1, copy.1, none.1]) {
        parent.inherit(memory.address(), SIZE, inherit)?;
        memory.store_u64(0, 7);
    }
    let mut child = child(parent, program)?;
    let [share, copy, none] = &memories;
    memories.iter().for_each(|memory| memory.store_u64(8, 8));
    same("shared, by the child", child.puppet.load(share.address() + 8)?, Ok(8))?;
    same("copied, by the child", child.puppet.load(copy.address() + 8)?, Ok(0))?;
    expect(child.puppet.load(none.address())?.is_err(), "the child has what it should not")?;
    same("a store by the child", child.puppet.store(share.address() + PAGE_SIZE, 9)?, Ok(()))?;
    same("a store by the child", child.puppet.store(copy.address() + PAGE_SIZE, 9)?, Ok(()))?;
    same("shared, by the parent", share.load_u64(PAGE_SIZE), 9)?;
    same("copied, by the parent", copy.load_u64(PAGE_SIZE), 0)?;
    // Shared memory stays shared with the child's child.
    let grandchild = self::child(child.space, program)?;
    share.store_u64(16, 10);
    same("shared, by the grandchild", grandchild.space.word(share.address() + 16)?, 10)?;
    refused("none of the grandchild's", grandchild.space.read(none.address(), 8), Code::INVALID_ADDRESS)?;
    Ok(parent.deallocate(program, PAGE_SIZE)?)
}

fn fork_many_generations() -> Outcome {
    const GENERATIONS: u64 = 40;
    let memory = Mapping::anonymous(SIZE)?;
    memory.store_u64(0, 1);
    let mut last = Space::own().fork()?;
    for generation in 0..GENERATIONS {
        let space = Space::of(&last);
        same("what the ancestors left", space.word(memory.address())?, 1 + generation)?;
        space.set_word(memory.address(), 2 + generation)?;
        space.set_word(memory.address() + (generation % PAGES) * PAGE_SIZE + 8, generation)?;
        let next = space.fork()?;
        // Each generation but the last is gone at once.
        last.terminate()?;
        last = next;
    }
    let space = Space::of(&last);
    same("what forty generations made of it", space.word(memory.address())?, 1 + GENERATIONS)?;
    for page in 0..PAGES {
        let newest = (0..GENERATIONS).rev().find(|generation| generation % PAGES == page).unwrap_or(0);
        same("a page that one of them wrote", space.word(memory.address() + page * PAGE_SIZE + 8)?, newest)?;
    }
    last.terminate()?;
    same("the first one's", memory.load_u64(0), 1)
}

fn fork_many_siblings() -> Outcome {
    let memory = Mapping::anonymous(SIZE)?;
    let mut children = Vec::new();
    for number in 0..24 {
        memory.store_u64(0, number);
        children.push(Space::own().fork()?);
    }
    for (number, child) in (0..).zip(&children) {
        same("what was there when it was made", Space::of(child).word(memory.address())?, number)?;
        Space::of(child).set_word(memory.address(), 1000 + number)?;
    }
    for (number, child) in (0..).zip(&children) {
        same("what it wrote", Space::of(child).word(memory.address())?, 1000 + number)?;
        child.terminate()?;
    }
    same("the parent's", memory.load_u64(0), 23)
}

fn fork_outlives_its_parent() -> Outcome {
    let middle = Sandbox::new()?;
    let memory = middle.space.allocate(SIZE)?;
    for page in 0..PAGES {
        middle.space.set_word(memory + page * PAGE_SIZE, 50 + page)?;
    }
    let mut last = Sandbox::with(middle.space.fork()?, middle.puppet.address(super::puppet::Op::Trap))?;
    middle.space.set_word(memory, 1)?;
    drop(middle);
    for page in 0..PAGES {
        same("what its parent left", last.puppet.load(memory + page * PAGE_SIZE)?, Ok(50 + page))?;
    }
    same("a store", last.puppet.store(memory, 2)?, Ok(()))?;
    same("what it stored", last.puppet.load(memory)?, Ok(2))
}

/// Some tasks that fork, write, copy and end at random, and what each page of each should hold.
fn fork_random_writes_agree_with_a_model() -> Outcome {
    let root = Sandbox::new()?;
    let memory = root.space.allocate(SIZE)?;
    let mut random = Random::new(2026);
    let mut tasks = Vec::from([(root.space.fork()?, [0_u64; PAGES as usize])]);
    for step in 1..600_u64 {
        let which = random.below(tasks.len() as u64) as usize;
        let (page, count) = (random.below(PAGES), tasks.len());
        let (task, model) = &mut tasks[which];
        let space = Space::of(task);
        match random.below(10) {
            0 if count < 12 => {
                let forked = (space.fork()?, *model);
                tasks.push(forked);
            }
            1 if count > 1 => tasks.remove(which).0.terminate()?,
            2 => {
                let (to, pages) = (random.below(PAGES), 1 + random.below(PAGES / 2));
                let pages = pages.min(PAGES - page).min(PAGES - to);
                space.copy(memory + page * PAGE_SIZE, pages * PAGE_SIZE, memory + to * PAGE_SIZE)?;
                model.copy_within(page as usize..(page + pages) as usize, to as usize);
            }
            3..7 => {
                space.set_word(memory + page * PAGE_SIZE, step)?;
                model[page as usize] = step;
            }
            _ => same("a page", space.word(memory + page * PAGE_SIZE)?, model[page as usize])?,
        }
    }
    for (task, model) in &tasks {
        for (page, word) in (0..).zip(model) {
            same("a page at the end", Space::of(task).word(memory + page * PAGE_SIZE)?, *word)?;
        }
        task.terminate()?;
    }
    Ok(())
}

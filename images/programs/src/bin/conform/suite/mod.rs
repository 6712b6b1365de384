//! The groups of tests, and which of them run.

mod bad_pagers;
mod exceptions;
mod fork;
mod fuzz;
mod harness;
mod hostile;
mod manual;
mod memory;
mod messages;
mod notices;
mod pagers;
mod paging;
mod puppet;
mod served;
mod space;
mod stress;
mod threads;
mod traps;
mod trouble;

use runtime::{Args, println};

use harness::Test;

/// Tests of one topic, and whether they run when nothing is named.
struct Group {
    name: &'static str,
    by_default: bool,
    tests: &'static [Test],
}

const fn group(name: &'static str, tests: &'static [Test]) -> Group {
    Group { name, by_default: true, tests }
}

/// One that needs a machine made for it.
const fn special(name: &'static str, tests: &'static [Test]) -> Group {
    Group { name, by_default: false, tests }
}

const GROUPS: &[Group] = &[
    group("traps", traps::TESTS),
    group("memory", memory::TESTS),
    group("fork", fork::TESTS),
    group("messages", messages::TESTS),
    group("notices", notices::TESTS),
    group("threads", threads::TESTS),
    group("exceptions", exceptions::TESTS),
    group("pagers", pagers::TESTS),
    group("bad-pagers", bad_pagers::TESTS),
    group("served", served::TESTS),
    group("hostile", hostile::TESTS),
    group("fuzz", fuzz::TESTS),
    group("stress", stress::TESTS),
    special("paging", paging::TESTS),
    special("full-swap", trouble::FULL_SWAP),
    special("bad-disk", trouble::BAD_DISK),
    special("pager-death", trouble::PAGER_DEATH),
];

/// The status is how many failed; a name of no test is a failure too.
pub(crate) fn run(args: Args) -> i32 {
    let mut failed = 0;
    for word in args.words().iter().filter(|word| !is_known(word)) {
        println!("@test {word} FAILED there is no such test");
        failed += 1;
    }
    for group in GROUPS {
        for test in group.tests {
            let wanted = match args.words() {
                [] => group.by_default,
                words => words.iter().any(|word| *word == group.name || *word == test.name),
            };
            failed += i32::from(wanted && !passes(test));
        }
    }
    failed
}

fn is_known(word: &str) -> bool {
    GROUPS.iter().any(|group| group.name == word || group.tests.iter().any(|test| test.name == word))
}

fn passes(test: &Test) -> bool {
    match (test.run)() {
        Ok(()) => println!("@test {} ok", test.name),
        Err(why) => {
            println!("@test {} FAILED {why}", test.name);
            return false;
        }
    }
    true
}

//! The manifest: which tasks, in which order, and what is expected of them.
//!
//! One line per item, words separated by blanks, `#` starts a comment:
//!
//! ```text
//! pager NAME PROGRAM [flag …] [key=value …]   started, and waited for until it has registered NAME
//! run   NAME PROGRAM [flag …] [argument …]    started, and waited for until it has ended
//! spawn NAME PROGRAM [flag …] [argument …]    started
//! set   timeout=SECONDS                       how long each wait of the lines below may take (0: for ever, as at the start)
//! set   trace=on|off                          the kernel's trace of pages' lives
//! ```
//!
//! Flags stand right behind the program and aren't passed on: `privileged` (the task may ask for the host's and the devices' ports; pagers
//! may anyway), `expect=exception` (it must end by an exception), `expect=death` (it may end in any way).

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

/// What a line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    Start(Start),
    Timeout(Option<Duration>),
    Trace(bool),
}

/// How long a task is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Pager,
    Run,
    Spawn,
}

/// What end of a task is the right one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Exit status 0; for a pager, none at all.
    Success,
    Exception,
    Anything,
}

/// A task to be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    pub kind: Kind,
    pub name: String,
    pub program: String,
    pub arguments: Vec<String>,
    pub privileged: bool,
    pub expect: Expect,
}

/// Reads the manifest. The error names the line.
pub fn parse(text: &str) -> Result<Vec<Item>, String> {
    let mut items = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let words: Vec<&str> = line.split_whitespace().take_while(|word| !word.starts_with('#')).collect();
        if let Some((first, rest)) = words.split_first() {
            items.push(item(first, rest).map_err(|why| format!("manifest line {number}: {why}"))?);
        }
    }
    Ok(items)
}

fn item(first: &str, rest: &[&str]) -> Result<Item, String> {
    let kind = match first {
        "pager" => Kind::Pager,
        "run" => Kind::Run,
        "spawn" => Kind::Spawn,
        "set" => return setting(rest),
        other => return Err(format!("`{other}` is none of pager, run, spawn, set")),
    };
    let [name, program, rest @ ..] = rest else { return Err(format!("`{first}` needs a name and a program")) };
    let mut start = Start {
        kind,
        name: String::from(*name),
        program: String::from(*program),
        arguments: Vec::new(),
        privileged: kind == Kind::Pager,
        expect: Expect::Success,
    };
    let mut rest = rest.iter();
    for word in rest.by_ref() {
        match *word {
            "privileged" => start.privileged = true,
            "expect=exception" => start.expect = Expect::Exception,
            "expect=death" => start.expect = Expect::Anything,
            argument => {
                start.arguments.push(String::from(argument));
                break;
            }
        }
    }
    start.arguments.extend(rest.map(|word| String::from(*word)));
    Ok(Item::Start(start))
}

fn setting(words: &[&str]) -> Result<Item, String> {
    let [word] = words else { return Err(String::from("`set` needs one key=value")) };
    match word.split_once('=') {
        Some(("trace", "on")) => Ok(Item::Trace(true)),
        Some(("trace", "off")) => Ok(Item::Trace(false)),
        Some(("timeout", seconds)) => match seconds.parse() {
            Ok(0) => Ok(Item::Timeout(None)),
            Ok(seconds) => Ok(Item::Timeout(Some(Duration::from_secs(seconds)))),
            Err(_) => Err(format!("`{seconds}` is no number of seconds")),
        },
        _ => Err(format!("`{word}` is no setting: there are timeout=SECONDS and trace=on|off")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(item: &Item) -> &Start {
        match item {
            Item::Start(start) => start,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn lines_become_items_in_order() {
        let text = "# a comment\n\npager swap swap-pager default=yes device=vda\n  run first pagebench --seed 7 privileged # not a flag there\n\
                    set timeout=30\nspawn load pagebench privileged expect=death\nset trace=on\nrun crash crash expect=exception\n";
        let items = parse(text).unwrap();
        assert_eq!(items.len(), 6);
        let swap = start(&items[0]);
        assert_eq!((swap.kind, &*swap.name, &*swap.program, swap.privileged), (Kind::Pager, "swap", "swap-pager", true));
        assert_eq!(swap.arguments, ["default=yes", "device=vda"]);
        let first = start(&items[1]);
        assert_eq!((first.kind, first.privileged, first.expect), (Kind::Run, false, Expect::Success));
        assert_eq!(first.arguments, ["--seed", "7", "privileged"]);
        assert_eq!(items[2], Item::Timeout(Some(Duration::from_secs(30))));
        let load = start(&items[3]);
        assert_eq!((load.kind, load.privileged, load.expect, load.arguments.len()), (Kind::Spawn, true, Expect::Anything, 0));
        assert_eq!((&items[4], start(&items[5]).expect), (&Item::Trace(true), Expect::Exception));
    }

    #[test]
    fn mistakes_name_their_line() {
        for (text, why) in [
            ("run a b\nstart x y", "line 2: `start`"),
            ("run a", "line 1: `run` needs"),
            ("set timeout=soon", "no number"),
            ("set color=red", "no setting"),
            ("set", "one key=value"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}

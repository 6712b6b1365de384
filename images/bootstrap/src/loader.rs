//! Makes tasks of the ramdisk's programs.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use abi::Code;
use abi::trap::{TASK_BOOTSTRAP_PORT, TASK_EXCEPTION_PORT};
use abi::vm::{PAGE_SIZE, Protection};
use runtime::task::Task;
use runtime::{Pages, ReceiveRight};
use tar_no_std::TarArchiveRef;

use crate::manifest::Start;
use crate::program::{self, Segment};
use crate::stack;
use crate::supervisor::Starter;

/// The name of the manifest in the ramdisk.
pub const MANIFEST: &str = "manifest";

/// A ramdisk: a plain tar archive.
#[derive(Debug)]
pub struct Archive<'a> {
    archive: TarArchiveRef<'a>,
}

impl<'a> Archive<'a> {
    /// Checks that it is one.
    pub fn new(bytes: &'a [u8]) -> Result<Self, String> {
        TarArchiveRef::new(bytes).map(|archive| Self { archive }).map_err(|error| format!("the ramdisk is no tar archive: {error:?}"))
    }

    /// A file's bytes.
    #[must_use]
    pub fn file(&self, name: &str) -> Option<&'a [u8]> {
        self.archive.entries().find(|entry| entry.filename().as_str() == Ok(name)).map(|entry| entry.data())
    }

    /// The manifest's text.
    pub fn manifest(&self) -> Result<&'a str, String> {
        let bytes = self.file(MANIFEST).ok_or_else(|| format!("the ramdisk has no file `{MANIFEST}`"))?;
        core::str::from_utf8(bytes).map_err(|_| String::from("the manifest isn't text"))
    }
}

impl Starter for Archive<'_> {
    fn start(&mut self, start: &Start, port: &ReceiveRight) -> Result<Task, String> {
        let file = self.file(&start.program).ok_or_else(|| format!("the ramdisk has no program `{}`", start.program))?;
        let program = program::parse(file)?;
        let words: Vec<&str> = [&start.name].into_iter().chain(&start.arguments).map(String::as_str).collect();
        let words = stack::layout(&words).ok_or("its words are too long")?;
        let task = Task::create().map_err(|code| format!("no task: {code}"))?;
        let loaded = load(&task, start, &program, &words, port);
        loaded.map_err(|(what, code)| {
            // It never ran; if it can't even be ended there is nothing left to try.
            let _ = task.terminate();
            format!("{what}: {code}")
        })?;
        Ok(task)
    }
}

fn load(
    task: &Task,
    start: &Start,
    program: &program::Program<'_>,
    words: &stack::Words,
    port: &ReceiveRight,
) -> Result<(), (&'static str, Code)> {
    // The name is for people; a kernel without names is none the worse.
    let _ = task.set_name(&start.name);
    for segment in &program.segments {
        map(task, segment).map_err(|code| ("loading it", code))?;
    }
    task.allocate_at(stack::TOP - stack::SIZE, stack::SIZE).map_err(|code| ("its stack", code))?;
    write(task, words.address, 0, &words.bytes).map_err(|code| ("its words", code))?;
    for which in [TASK_BOOTSTRAP_PORT, TASK_EXCEPTION_PORT] {
        task.set_special_port(which, port.send_port()).map_err(|code| ("its ports", code))?;
    }
    task.start_thread(program.entry, words.sp).map(drop).map_err(|code| ("its thread", code))
}

fn map(task: &Task, segment: &Segment<'_>) -> Result<(), Code> {
    task.allocate_at(segment.address, segment.size)?;
    write(task, segment.address, segment.lead, segment.bytes)?;
    if segment.protection == Protection::DEFAULT {
        return Ok(());
    }
    task.protect(segment.address, segment.size, segment.protection)
}

/// Writes bytes as whole pages, `lead` zero bytes in front of them.
fn write(task: &Task, address: u64, lead: usize, bytes: &[u8]) -> Result<(), Code> {
    if bytes.is_empty() {
        return Ok(());
    }
    let end = lead + bytes.len();
    let mut pages = Pages::allocate((end as u64).next_multiple_of(PAGE_SIZE))?;
    pages[lead..end].copy_from_slice(bytes);
    task.write(address, &pages)
}

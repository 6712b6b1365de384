//! Loads the first tasks, as the boot script says: GNU Mach's bootstrap modules.
//!
//! A boot module is a static program and its line of the script (`boot_script.rs`); without modules it is the file `bootstrap` of the ramdisk. All
//! lines are read before a task is made, all tasks are loaded before one runs. An error is the end: the machine goes off, so nothing
//! is given back.

mod program;
mod stack;

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::Ordering;

use abi::Code;
use abi::vm::{PAGE_SIZE, Protection, USER_END};
use vm::{Map, Outcome, PageRange, Placement, Showing};

use crate::boot_script::{Command, Function, Piece, PortValue, Script, ScriptError, Value};
use crate::kernel::Kernel;
use crate::kobject::{Effects, Right};
use crate::machine::{Machine, Module};
use crate::task::Task;
use program::{Program, ProgramError};

/// Where stacks of first threads end: a hole above it catches what runs over.
const STACK_TOP: u64 = USER_END - (64 << 10);
const STACK_BOTTOM: u64 = STACK_TOP - stack::SIZE;
/// Programs end at a hole below the stack.
const PROGRAM_LIMIT: u64 = STACK_BOTTOM - (64 << 10);

const _: () = assert!(STACK_TOP.is_multiple_of(PAGE_SIZE) && STACK_BOTTOM.is_multiple_of(PAGE_SIZE));

/// The ramdisk's file that is run where there are no modules, and its line.
const BOOTSTRAP: &str = "bootstrap";
const BOOTSTRAP_LINE: &str = "bootstrap ${host-port} ${device-port} $(task-create) $(task-resume)";

/// Why there are no first tasks.
#[derive(Debug)]
pub(crate) enum BootError {
    Script(ScriptError),
    /// Neither a module nor a ramdisk.
    Nothing,
    /// The ramdisk isn't an archive.
    Archive(tar_no_std::CorruptDataError),
    /// The ramdisk has no program.
    NoBootstrap,
    /// Every line was a comment, or only loads.
    NothingRuns,
    /// ramdisk-create: see [`fmt::Display`].
    RamdiskModule {
        line: usize,
    },
    Program {
        name: String,
        error: ProgramError,
    },
    Arguments {
        name: String,
    },
    /// The kernel couldn't do something for a task.
    Kernel {
        name: String,
        what: &'static str,
        code: Code,
    },
}

/// A task that is made.
struct First<'a, M: Machine> {
    command: &'a Command,
    file: &'static [u8],
    task: Arc<Task<M>>,
}

/// What variables stand for.
type Variables = BTreeMap<String, Value>;

impl<M: Machine> Kernel<M> {
    /// Loads the tasks of the boot modules, or the ramdisk's bootstrap, and lets them run.
    pub(crate) fn load_first_tasks(&self, modules: &[Module], command_line: &str) -> Result<(), BootError> {
        if !modules.is_empty() {
            return self.load_modules(modules, command_line);
        }
        let ramdisk = self.ramdisk.as_ref().ok_or(BootError::Nothing)?;
        let bytes = ramdisk.file(BOOTSTRAP).map_err(BootError::Archive)?.ok_or(BootError::NoBootstrap)?;
        self.load_modules(&[Module { bytes, line: BOOTSTRAP_LINE }], command_line)
    }

    fn load_modules(&self, modules: &[Module], command_line: &str) -> Result<(), BootError> {
        let mut script = Script::new(command_line);
        for (at, module) in modules.iter().enumerate() {
            script.add(at + 1, module.line).map_err(BootError::Script)?;
        }
        let (commands, variables) = script.finish().map_err(BootError::Script)?;
        if let Some(command) = commands.iter().find(|command| command.does(Function::RamdiskCreate)) {
            return Err(BootError::RamdiskModule { line: command.line });
        }
        if !commands.iter().any(Command::resumes) {
            return Err(BootError::NothingRuns);
        }
        let mut tasks = Vec::new();
        for command in &commands {
            tasks.push(First { command, file: modules[command.line - 1].bytes, task: self.first_task()? });
        }
        for first in &tasks {
            self.load_first(first, &tasks, &variables)?;
        }
        for first in tasks.iter().filter(|first| first.command.resumes()) {
            self.resume_first(&first.task);
        }
        Ok(())
    }

    /// An empty task that is suspended once: if the script doesn't resume it, who got its port may.
    fn first_task(&self) -> Result<Arc<Task<M>>, BootError> {
        let failed = |code| BootError::Kernel { name: String::from("a task"), what: "create it", code };
        let task = Task::new(self.machine).map_err(failed)?;
        task.suspend_count.store(1, Ordering::Release);
        task.is_first.store(true, Ordering::Release);
        self.first_tasks.fetch_add(1, Ordering::AcqRel);
        Ok(task)
    }

    /// Fills a task: ports, program, stack, a thread.
    fn load_first(&self, first: &First<'_, M>, tasks: &[First<'_, M>], variables: &Variables) -> Result<(), BootError> {
        let task = &first.task;
        let arguments = self.arguments(first, tasks, variables)?;
        let name = arguments.first().cloned().unwrap_or_default();
        let failed = |what| {
            let name = name.clone();
            move |code| BootError::Kernel { name, what, code }
        };
        task.state.lock().name.clone_from(&name);
        let program = Program::parse(first.file, PROGRAM_LIMIT).map_err(|error| BootError::Program { name: name.clone(), error })?;
        self.map_program(&task.map, &program).map_err(failed("load it"))?;
        let contents = stack::contents(STACK_TOP, &arguments).ok_or_else(|| BootError::Arguments { name: name.clone() })?;
        self.map_bytes(&task.map, stack_range(), STACK_TOP - contents.bytes.len() as u64, &contents.bytes, program.stack_protection)
            .map_err(failed("make its stack"))?;
        let thread = self.thread_create(task).map_err(failed("make its thread"))?;
        {
            let mut body = thread.body.lock();
            body.registers.sp = contents.pointer;
            body.registers.pc = program.entry;
        }
        self.thread_resume(&thread).map_err(failed("start its thread"))
    }

    /// The words of its line. Ports that they stand for are put into the task: names are given in order, from 1.
    fn arguments(&self, first: &First<'_, M>, tasks: &[First<'_, M>], variables: &Variables) -> Result<Vec<String>, BootError> {
        let mut effects = Effects::new();
        let mut arguments = Vec::new();
        let mut result = Ok(());
        for word in &first.command.words {
            let mut argument = String::new();
            for piece in word {
                let value = match piece {
                    Piece::Text(text) => Ok(text.clone()),
                    Piece::Variable(variable) => self.value(variables.get(variable), &first.task, tasks, &mut effects),
                };
                match value {
                    Ok(value) => argument.push_str(&value),
                    Err(code) => {
                        let name = alloc::format!("boot script, line {}", first.command.line);
                        result = Err(BootError::Kernel { name, what: "give the task its ports", code });
                    }
                }
            }
            arguments.push(argument);
        }
        self.work_off(effects);
        result.map(|()| arguments)
    }

    /// A variable's value as a task sees it.
    fn value(&self, value: Option<&Value>, task: &Arc<Task<M>>, tasks: &[First<'_, M>], effects: &mut Effects<M>) -> Result<String, Code> {
        let port = match value {
            Some(Value::Text(text)) => return Ok(text.clone()),
            Some(Value::Port(port)) => *port,
            None => return Err(Code::INVALID_NAME),
        };
        let right = match port {
            PortValue::HostPriv => self.host_priv.make_send(),
            PortValue::DeviceMaster => self.device_master.make_send(),
            PortValue::KernelTask => task.send_right(),
            PortValue::Task(line) => {
                let named = tasks.iter().find(|first| first.command.line == line);
                named.map_or(Right::dead(), |first| first.task.send_right())
            }
        };
        task.space.insert(right, effects).map(|name| name.to_string())
    }

    fn map_program(&self, map: &Map<M::Pmap>, program: &Program<'_>) -> Result<(), Code> {
        program
            .segments
            .iter()
            .try_for_each(|segment| self.map_bytes(map, segment.range, segment.address, segment.bytes, segment.protection))
    }

    /// Maps a range of zeroes, puts bytes into it, and gives it its rights.
    fn map_bytes(&self, map: &Map<M::Pmap>, range: PageRange, address: u64, bytes: &[u8], protection: Protection) -> Result<(), Code> {
        map.enter(Placement::At(range.start()), range.bytes(), Showing::ZERO)?;
        for (address, bytes) in program::pages(address, bytes) {
            self.write_first(map, address, bytes)?;
        }
        map.protect(range, false, protection)
    }

    /// Writes into a page of new memory. There is no pager yet, and nobody to make room.
    fn write_first(&self, map: &Map<M::Pmap>, address: u64, bytes: &[u8]) -> Result<(), Code> {
        loop {
            match self.vm.write_bytes(map, address, bytes) {
                Outcome::Done => return Ok(()),
                Outcome::Again => core::hint::spin_loop(),
                Outcome::Refuse(code) => return Err(code),
                Outcome::Shortage | Outcome::Wait(_) | Outcome::Ask(_) => return Err(Code::RESOURCE_SHORTAGE),
            }
        }
    }

    /// task-resume.
    fn resume_first(&self, task: &Arc<Task<M>>) {
        task.suspend_count.store(0, Ordering::Release);
        let threads = task.state.lock().threads.clone();
        for thread in &threads {
            self.look_again(thread, &mut thread.control.lock());
        }
    }
}

/// Where the first thread's stack is.
fn stack_range() -> PageRange {
    PageRange::containing(STACK_BOTTOM, stack::SIZE).unwrap_or_else(|_| unreachable!("the stack is in user memory"))
}

impl fmt::Display for BootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Script(error) => error.fmt(f),
            Self::Nothing => f.write_str("there is nothing to run: no boot module and no ramdisk (QEMU: -initrd, or -device guest-loader)"),
            Self::Archive(error) => write!(f, "there is no boot module, and the ramdisk is not a tar archive: {error}"),
            Self::NoBootstrap => write!(f, "there is no boot module, and no file \"{BOOTSTRAP}\" in the ramdisk"),
            Self::NothingRuns => f.write_str("no line of the boot script resumes a task: $(task-resume) is missing"),
            Self::RamdiskModule { line } => {
                write!(
                    f,
                    "boot script, line {line}: the ramdisk is the loader's initial ramdisk (QEMU: -initrd); it can't be a boot module"
                )
            }
            Self::Program { name, error } => write!(f, "cannot load \"{name}\": {error}"),
            Self::Arguments { name } => write!(f, "the arguments of \"{name}\" don't fit on its stack"),
            Self::Kernel { name, what, code } => write!(f, "\"{name}\": the kernel could not {what}: {code}"),
        }
    }
}

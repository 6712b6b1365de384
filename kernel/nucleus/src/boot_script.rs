//! GNU Mach's boot script: which task is made of which boot module, and what it is told.
//!
//! One line for each module. Its words are the task's arguments; `${name}` in a word stands for a variable's value, `$(function)` and
//! `$(name=function)` are calls. A pure parser: `boot.rs` does what the commands say. Lines may use variables that later lines set,
//! so nothing is looked up before [`Script::finish`].

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// A script that is being read.
pub(crate) struct Script {
    variables: BTreeMap<String, Value>,
    commands: Vec<Command>,
}

/// What a module becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Command {
    /// The line's number, from 1: that of the module.
    pub(crate) line: usize,
    /// The arguments; the first one names the program.
    pub(crate) words: Vec<Vec<Piece>>,
    calls: Vec<(Function, Option<String>)>,
}

/// Part of a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Text(String),
    /// After [`Script::finish`] it is known to have a value.
    Variable(String),
}

/// What a variable stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Text(String),
    Port(PortValue),
}

/// A port that a task is given when a variable of its line stands for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PortValue {
    HostPriv,
    DeviceMaster,
    /// `kernel-task`: there is no kernel task here, so each task gets its own.
    KernelTask,
    /// The task of this line.
    Task(usize),
}

/// What a line can call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    /// At once: other lines can have the task's port.
    TaskCreate,
    /// When all lines were read and all tasks loaded.
    TaskResume,
    /// Mach's asks at the console first; the kernel's console has no input, so this doesn't wait.
    PromptTaskResume,
    /// The module is the ramdisk.
    RamdiskCreate,
}

/// A line that can't be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ScriptError {
    line: usize,
    word: String,
    problem: Problem,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Problem {
    Unterminated,
    LoneDollar,
    Glued,
    NoFunction,
    NothingToKeep,
    SetTwice,
    CalledTwice,
    NotCreated,
    NoProgram,
    NoPurpose,
    Unknown,
}

impl Script {
    /// An empty script. Every FOO=BAR word of the kernel's command line is a variable.
    pub(crate) fn new(command_line: &str) -> Self {
        let words = || command_line.split_ascii_whitespace();
        let mut variables: BTreeMap<String, Value> = words()
            .filter_map(|word| word.split_once('='))
            .filter(|(name, _)| !name.is_empty())
            .map(|(name, value)| (name.to_owned(), Value::Text(value.to_owned())))
            .collect();
        let flags: String = words().filter_map(|word| word.strip_prefix('-')).collect();
        let root = words().filter_map(|word| word.strip_prefix("root=")).next_back();
        let root = root.map_or("UNKNOWN", |root| root.strip_prefix("/dev/").unwrap_or(root));
        // Mach's defaults for systems that ask: a flag there always is, and a name that no device has.
        let flags = if flags.is_empty() { "x" } else { &flags };
        variables.extend([
            ("kernel-command-line".to_owned(), Value::Text(command_line.to_owned())),
            ("boot-args".to_owned(), Value::Text(alloc::format!("-{flags}"))),
            ("root-device".to_owned(), Value::Text(root.to_owned())),
            ("host-port".to_owned(), Value::Port(PortValue::HostPriv)),
            ("device-port".to_owned(), Value::Port(PortValue::DeviceMaster)),
            ("kernel-task".to_owned(), Value::Port(PortValue::KernelTask)),
        ]);
        Self { variables, commands: Vec::new() }
    }

    /// Reads the line of module `line`. A line that is only a comment makes no command.
    pub(crate) fn add(&mut self, line: usize, text: &str) -> Result<(), ScriptError> {
        let mut command = Command { line, words: Vec::new(), calls: Vec::new() };
        for word in text.split_ascii_whitespace().take_while(|word| !word.starts_with('#')) {
            let error = |problem| ScriptError { line, word: word.to_owned(), problem };
            match word.strip_prefix("$(") {
                Some(call) => {
                    let (function, result) = parse_call(call).map_err(error)?;
                    if command.does(function) {
                        return Err(error(Problem::CalledTwice));
                    }
                    if let Some(result) = &result {
                        self.set(result, function, line).map_err(error)?;
                    }
                    command.calls.push((function, result));
                }
                None => command.words.push(parse_word(word).map_err(error)?),
            }
        }
        if command.words.is_empty() && command.calls.is_empty() {
            return Ok(());
        }
        command.check().map_err(|problem| ScriptError { line, word: text.trim().to_owned(), problem })?;
        self.commands.push(command);
        Ok(())
    }

    /// Keeps a call's result.
    fn set(&mut self, name: &str, function: Function, line: usize) -> Result<(), Problem> {
        if function != Function::TaskCreate {
            return Err(Problem::NothingToKeep);
        }
        match self.variables.insert(name.to_owned(), Value::Port(PortValue::Task(line))) {
            Some(_) => Err(Problem::SetTwice),
            None => Ok(()),
        }
    }

    /// All lines were read: the commands, and what their variables stand for.
    pub(crate) fn finish(self) -> Result<(Vec<Command>, BTreeMap<String, Value>), ScriptError> {
        for command in &self.commands {
            for piece in command.words.iter().flatten() {
                if let Piece::Variable(name) = piece
                    && !self.variables.contains_key(name)
                {
                    return Err(ScriptError { line: command.line, word: alloc::format!("${{{name}}}"), problem: Problem::Unknown });
                }
            }
        }
        Ok((self.commands, self.variables))
    }
}

impl Command {
    /// Whether the line calls a function.
    pub(crate) fn does(&self, function: Function) -> bool {
        self.calls.iter().any(|(called, _)| *called == function)
    }

    /// Whether its task runs when all are loaded.
    pub(crate) fn resumes(&self) -> bool {
        self.does(Function::TaskResume) || self.does(Function::PromptTaskResume)
    }

    fn check(&self) -> Result<(), Problem> {
        match (self.does(Function::TaskCreate), self.does(Function::RamdiskCreate)) {
            (true, _) if self.words.is_empty() => Err(Problem::NoProgram),
            (false, _) if self.resumes() => Err(Problem::NotCreated),
            (true, true) | (false, false) => Err(Problem::NoPurpose),
            _ => Ok(()),
        }
    }
}

/// What follows `$(`.
fn parse_call(text: &str) -> Result<(Function, Option<String>), Problem> {
    let (call, rest) = text.split_once(')').ok_or(Problem::Unterminated)?;
    if !rest.is_empty() {
        return Err(Problem::Glued);
    }
    let (result, name) = match call.split_once('=') {
        Some((result, name)) => (Some(result.to_owned()), name),
        None => (None, call),
    };
    let function = match name {
        "task-create" => Function::TaskCreate,
        "task-resume" => Function::TaskResume,
        "prompt-task-resume" => Function::PromptTaskResume,
        "ramdisk-create" => Function::RamdiskCreate,
        _ => return Err(Problem::NoFunction),
    };
    Ok((function, result))
}

fn parse_word(word: &str) -> Result<Vec<Piece>, Problem> {
    let mut pieces = Vec::new();
    let mut rest = word;
    while let Some((text, after)) = rest.split_once('$') {
        if !text.is_empty() {
            pieces.push(Piece::Text(text.to_owned()));
        }
        if after.starts_with('(') {
            return Err(Problem::Glued);
        }
        let variable = after.strip_prefix('{').ok_or(Problem::LoneDollar)?;
        let (name, after) = variable.split_once('}').ok_or(Problem::Unterminated)?;
        pieces.push(Piece::Variable(name.to_owned()));
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.to_owned()));
    }
    Ok(pieces)
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let problem = match self.problem {
            Problem::Unterminated => "it has an opening bracket and no closing one",
            Problem::LoneDollar => "a $ begins ${variable} or $(function), and nothing else",
            Problem::Glued => "a call is a word of its own",
            Problem::NoFunction => "there is no such function (task-create, task-resume, prompt-task-resume, ramdisk-create)",
            Problem::NothingToKeep => "only task-create gives something to keep in a variable",
            Problem::SetTwice => "the variable has a value already",
            Problem::CalledTwice => "the line has called that already",
            Problem::NotCreated => "it resumes a task and creates none: $(task-create) is missing",
            Problem::NoProgram => "it creates a task and doesn't name it: the first word is missing",
            Problem::NoPurpose => "a module becomes a task, $(task-create), or the ramdisk, $(ramdisk-create)",
            Problem::Unknown => "no line and no word of the kernel's command line gives that variable a value",
        };
        write!(f, "boot script, line {}, \"{}\": {problem}", self.line, self.word)
    }
}

#[cfg(test)]
mod tests;

//! Goes through the manifest and judges: starts each task, serves all that run, and notices how each of them ends.
//!
//! All messages of a task come to one port, so they come in order: its last word before the news of its death.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use core::fmt;
use core::time::Duration;

use abi::Code;
use abi::call::bootstrap::{Call, bootstrap_ports, bootstrap_register};
use abi::call::exc::{self, exception_raise};
use abi::call::notify::mach_notify_dead_name;
use abi::call::pvmach_control::host_trace;
use runtime::bootstrap::PrivilegedPorts;
use runtime::task::{self, Task};
use runtime::{PortSet, ReceiveRight, Received, Receiver, port, println, time};

use crate::manifest::{Expect, Item, Kind, Start};
use crate::services::{ChildId, Services};

/// Room for a message of a task.
const MESSAGE: usize = 1024;

/// Makes tasks.
pub trait Starter {
    /// Starts a task whose bootstrap and exception port is `port`.
    fn start(&mut self, start: &Start, port: &ReceiveRight) -> Result<Task, String>;
}

/// How a task ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    Exit(i32),
    Exception(String),
    Died,
}

#[derive(Debug)]
struct Child {
    start: Start,
    /// Held so that it lives: the child is found by its name.
    _port: ReceiveRight,
    task: Task,
    end: Option<End>,
}

/// The supervisor.
pub struct Supervisor<S> {
    starter: S,
    ports: PrivilegedPorts,
    set: PortSet,
    receiver: Receiver,
    children: BTreeMap<ChildId, Child>,
    services: Services,
    timeout: Option<Duration>,
    /// The first thing that went wrong.
    failure: Option<String>,
}

/// What a wait ends at.
#[derive(Clone, Copy)]
enum Until {
    Registered,
    Ended,
}

impl<S: Starter> Supervisor<S> {
    /// Makes its ports.
    pub fn new(starter: S, ports: PrivilegedPorts) -> Result<Self, Code> {
        Ok(Self {
            starter,
            ports,
            set: port::allocate_set()?,
            receiver: Receiver::new(MESSAGE)?,
            children: BTreeMap::new(),
            services: Services::default(),
            timeout: None,
            failure: None,
        })
    }

    /// Does all that the manifest says. The error is the first thing that went wrong.
    pub fn run(&mut self, items: &[Item]) -> Result<(), String> {
        for item in items {
            match item {
                Item::Timeout(timeout) => self.timeout = *timeout,
                Item::Trace(on) => self.trace(*on),
                Item::Start(start) => {
                    // Without its pagers a program has nothing to run on.
                    if !self.start(start) && start.kind == Kind::Pager {
                        break;
                    }
                }
            }
        }
        self.failure.take().map_or(Ok(()), Err)
    }

    fn trace(&mut self, on: bool) {
        if let Err(code) = self.ports.host.call(&host_trace::Request { on }) {
            self.fail(format!("set trace: {code}"));
        }
    }

    fn fail(&mut self, why: String) {
        println!("bootstrap: {why}");
        self.failure.get_or_insert(why);
    }

    /// Starts a task, and waits as long as its kind asks for. False if something went wrong.
    fn start(&mut self, start: &Start) -> bool {
        let done = self.launch(start).and_then(|child| match start.kind {
            Kind::Spawn => Ok(()),
            Kind::Pager => self.wait(child, Until::Registered),
            Kind::Run => self.wait(child, Until::Ended),
        });
        done.map_err(|why| self.fail(format!("{}: {why}", start.name))).is_ok()
    }

    fn launch(&mut self, start: &Start) -> Result<ChildId, String> {
        let port = port::allocate().map_err(|code| format!("no port: {code}"))?;
        self.set.add(&port).map_err(|code| format!("no port: {code}"))?;
        let task = self.starter.start(start, &port)?;
        let (name, once) = (task.port().name(), port.send_once_port());
        if let Err(code) = port::request_notification(name, port::notification::DEAD_NAME, 0, once) {
            println!("bootstrap: {}: its death will go unnoticed: {code}", start.name);
        }
        let id = port.name().into();
        self.children.insert(id, Child { start: start.clone(), _port: port, task, end: None });
        Ok(id)
    }

    fn wait(&mut self, id: ChildId, until: Until) -> Result<(), String> {
        let deadline = self.timeout.map(|timeout| time::now() + timeout);
        loop {
            let ended = self.children.get(&id).and_then(|child| child.end.clone());
            match (until, ended) {
                (Until::Ended, Some(_)) => return self.bury(id),
                (Until::Registered, Some(end)) => {
                    // Whatever was expected of its end, it wasn't that it never began.
                    let _ = self.bury(id);
                    return Err(format!("it ended before it was ready: {end}"));
                }
                (Until::Registered, None) if self.is_ready(id) => return Ok(()),
                _ => {}
            }
            if !self.serve_one(deadline)? {
                return Err(self.give_up(id));
            }
        }
    }

    fn is_ready(&self, id: ChildId) -> bool {
        self.children.get(&id).is_some_and(|child| self.services.has(&child.start.name, id))
    }

    /// The deadline has passed: ends the task, and says what it may have waited for.
    fn give_up(&mut self, id: ChildId) -> String {
        let wanted = self.services.wanted().next().map_or(String::new(), |name| format!("; somebody waits for `{name}`"));
        if let Some(child) = self.children.remove(&id) {
            let _ = child.task.terminate();
        }
        self.services.forget(id);
        format!("not done in time{wanted}")
    }

    /// Forgets a task that ended, and judges its end.
    fn bury(&mut self, id: ChildId) -> Result<(), String> {
        self.services.forget(id);
        let Some(Child { start, end: Some(end), .. }) = self.children.remove(&id) else { return Ok(()) };
        judge(&start, &end)
    }

    /// Waits for one message and serves it. False if none came until the deadline.
    fn serve_one(&mut self, deadline: Option<Duration>) -> Result<bool, String> {
        let timeout = deadline.map(|deadline| deadline.saturating_sub(time::now()));
        match self.receiver.receive(self.set.name(), timeout) {
            Ok(message) => {
                let id = message.local();
                let (children, services, ports) = (&mut self.children, &mut self.services, &self.ports);
                let Some(child) = children.get_mut(&id) else { return Ok(true) };
                serve(child, id, services, ports, message);
            }
            Err(Code::RCV_TIMED_OUT) => return Ok(false),
            Err(code) => return Err(format!("receiving: {code}")),
        }
        self.bury_unwaited();
        Ok(true)
    }

    /// Tasks that nobody waits for end too: pagers, which shouldn't, and spawned ones.
    fn bury_unwaited(&mut self) {
        let ended = |(id, child): (&ChildId, &Child)| {
            let is_waited_for = match child.start.kind {
                Kind::Run => true,
                Kind::Pager => !self.services.has(&child.start.name, *id),
                Kind::Spawn => false,
            };
            (child.end.is_some() && !is_waited_for).then_some(*id)
        };
        let Some(id) = self.children.iter().find_map(ended) else { return };
        let name = self.children.get(&id).map_or(String::new(), |child| child.start.name.clone());
        if let Err(why) = self.bury(id) {
            self.fail(format!("{name}: {why}"));
        }
    }
}

/// Whether a task ended as it should.
fn judge(start: &Start, end: &End) -> Result<(), String> {
    match (start.expect, start.kind, end) {
        (Expect::Anything, _, _) | (Expect::Exception, _, End::Exception(_)) => Ok(()),
        (Expect::Success, Kind::Run | Kind::Spawn, End::Exit(0)) => Ok(()),
        (Expect::Success, Kind::Pager, _) => Err(format!("a pager must not end: {end}")),
        (Expect::Exception, _, _) => Err(format!("it ended without an exception: {end}")),
        (Expect::Success, _, _) => Err(end.to_string()),
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit(status) => write!(f, "exit status {status}"),
            Self::Exception(what) => f.write_str(what),
            Self::Died => f.write_str("it died without a word"),
        }
    }
}

/// Serves one message of a task.
fn serve(child: &mut Child, id: ChildId, services: &mut Services, ports: &PrivilegedPorts, message: Received<'_>) {
    if let Ok(request) = message.decode::<exception_raise::Request>() {
        return exception(child, message, &request);
    }
    if let Ok(notice) = message.decode::<mach_notify_dead_name::Request>() {
        // The notification brought one more reference to the dead name.
        port::deallocate(notice.name.0);
        child.end.get_or_insert(End::Died);
        return;
    }
    match Call::decode(message.bytes()) {
        Some(Ok(call)) => bootstrap_call(child, id, services, ports, message, call),
        // Not understood; that the asker is told is all that can be done.
        Some(Err(_)) | None => {
            let _ = message.reply_bad_id();
        }
    }
}

fn bootstrap_call(child: &mut Child, id: ChildId, services: &mut Services, ports: &PrivilegedPorts, mut message: Received<'_>, call: Call) {
    // An asker that is gone doesn't miss its answer, so failures to answer are none of ours.
    match call {
        Call::bootstrap_register(request) => {
            let service = message.claim_send(request.service).ok_or(Code::INVALID_CAPABILITY);
            let done = service.and_then(|service| services.register(request.name.0, id, service));
            let _ = message.reply::<bootstrap_register::Request>(&done.map(|()| bootstrap_register::Reply {}));
        }
        Call::bootstrap_look_up(request) => {
            if let Some(reply) = message.take_reply() {
                services.look_up(request.name.0, reply);
            }
        }
        Call::bootstrap_ports(_) => {
            let allowed = if child.start.privileged { Ok(()) } else { Err(Code::NO_ACCESS) };
            let reply = allowed.map(|()| bootstrap_ports::Reply { host: ports.host.copy(), device: ports.device.copy() });
            let _ = message.reply::<bootstrap_ports::Request>(&reply);
        }
        Call::bootstrap_exit(request) => {
            child.end.get_or_insert(End::Exit(request.status));
            // It is about to end itself; this makes sure.
            let _ = child.task.terminate();
        }
    }
}

/// A task's thread got an exception: says so, and ends the task.
fn exception(child: &mut Child, mut message: Received<'_>, request: &exception_raise::Request) {
    let pc = message.claim_send(request.thread).ok_or(Code::FAILURE).and_then(|thread| task::thread_state(&thread));
    let place = pc.map_or_else(|code| format!("an unknown pc ({code})"), |state| format!("pc {:#x}", state.pc));
    let (name, code, subcode) = (exception_name(request.exception), request.code, request.subcode);
    let reason = if request.exception == exc::EXC_BAD_ACCESS { Code(code).to_string() } else { code.to_string() };
    let what = format!("{name} {reason} {subcode:#x} at {place}");
    println!("{}: {what}", child.start.name);
    child.end.get_or_insert(End::Exception(what));
    let _ = child.task.terminate();
}

fn exception_name(exception: i32) -> String {
    let name = match exception {
        exc::EXC_BAD_ACCESS => "EXC_BAD_ACCESS",
        exc::EXC_BAD_INSTRUCTION => "EXC_BAD_INSTRUCTION",
        exc::EXC_ARITHMETIC => "EXC_ARITHMETIC",
        exc::EXC_SOFTWARE => "EXC_SOFTWARE",
        exc::EXC_BREAKPOINT => "EXC_BREAKPOINT",
        other => return format!("exception {other}"),
    };
    String::from(name)
}

//! The supervisor with tasks that are scripts: each says its words to its bootstrap port when it is started.

use std::cell::RefCell;
use std::rc::Rc;

use abi::Code;
use abi::call::bootstrap::{bootstrap_exit, bootstrap_look_up, bootstrap_ports, bootstrap_register};
use abi::call::exc::{EXC_BAD_ACCESS, exception_raise};
use abi::call::mach::{task_terminate, thread_get_state};
use abi::item::Text;
use abi::message::Port;
use abi::table::decode_reply;
use abi::thread_state::ThreadState;
use bootstrap_task::manifest::{self, Start};
use bootstrap_task::supervisor::{Starter, Supervisor};
use runtime::bootstrap::PrivilegedPorts;
use runtime::fake::{Answer, DEVICES, FakeKernel, HOST, Load, PortId};
use runtime::task::Task;
use runtime::{ReceiveRight, SendRight};

/// What tasks do, by the name of their program.
struct Scripts {
    kernel: FakeKernel,
    /// Everything that was started or ended, in order.
    log: Rc<RefCell<Vec<String>>>,
    replies: Rc<RefCell<Vec<PortId>>>,
    doomed: RefCell<Vec<PortId>>,
}

impl Scripts {
    fn ask(&self, to: PortId, message: &impl abi::Message) {
        let reply = self.kernel.outside_port();
        self.replies.borrow_mut().push(reply);
        let mut load = Load::default();
        load.reply_to(reply);
        self.kernel.send_with(to, message, load);
    }

    fn register(&self, to: PortId, name: &str) {
        let service = self.kernel.outside_port();
        let mut load = Load::default();
        load.reply_to(self.kernel.outside_port());
        let request = bootstrap_register::Request { name: Text(name.into()), service: load.send(service) };
        self.kernel.send_with(to, &request, load);
    }

    fn crash(&self, to: PortId) {
        let state = ThreadState { pc: 0x40_1234, ..ThreadState::default() };
        let thread = self.kernel.service(move |sent| {
            sent.decode::<thread_get_state::Request>().unwrap();
            Answer::to::<thread_get_state::Request>(Ok(thread_get_state::Reply { state: runtime::task::state_words(&state) }))
        });
        let mut load = Load::default();
        let (thread, task) = (load.send(thread), load.send(self.kernel.outside_port()));
        let raise = exception_raise::Request { thread, task, exception: EXC_BAD_ACCESS, code: Code::INVALID_ADDRESS.0, subcode: 0xbad };
        self.kernel.send_with(to, &raise, load);
    }
}

impl Starter for Scripts {
    fn start(&mut self, start: &Start, port: &ReceiveRight) -> Result<Task, String> {
        self.log.borrow_mut().push(format!("start {} {:?}", start.name, start.arguments));
        let (log, name) = (self.log.clone(), start.name.clone());
        let task = self.kernel.service(move |sent| {
            sent.decode::<task_terminate::Request>().unwrap();
            log.borrow_mut().push(format!("end {name}"));
            Answer::to::<task_terminate::Request>(Ok(task_terminate::Reply {}))
        });
        let to = self.kernel.port_of(port.name()).unwrap();
        match &*start.program {
            "pager" => self.register(to, &start.name),
            "wrong-name" => {
                self.register(to, "other");
                self.kernel.send(to, &bootstrap_exit::Request { status: 0 });
            }
            "ok" => self.kernel.send(to, &bootstrap_exit::Request { status: 0 }),
            "bad" => self.kernel.send(to, &bootstrap_exit::Request { status: 3 }),
            "crash" => self.crash(to),
            "asks" => {
                self.ask(to, &bootstrap_look_up::Request { name: Text(start.arguments[0].clone()) });
                self.ask(to, &bootstrap_ports::Request {});
                self.kernel.send(to, &bootstrap_exit::Request { status: 0 });
            }
            "silent" | "dies" => {}
            // Kills the tasks that are to die, so that there is somebody to notice.
            "killer" => {
                self.doomed.take().into_iter().for_each(|task| self.kernel.kill(task));
                self.kernel.send(to, &bootstrap_exit::Request { status: 0 });
            }
            _ => return Err(String::from("the ramdisk has no such program")),
        }
        if start.program == "dies" {
            self.doomed.borrow_mut().push(task);
        }
        let right = SendRight::from_name(self.kernel.give_send_right(task));
        Ok(Task::from_right(right.into_port()).unwrap())
    }
}

struct Outcome {
    verdict: Result<(), String>,
    log: Vec<String>,
    console: String,
    /// The answers to what "asks" asked.
    replies: Vec<Option<runtime::fake::Sent>>,
}

fn supervise(text: &str) -> Outcome {
    let (kernel, _installed) = FakeKernel::install();
    let right = |port| SendRight::from_name(kernel.give_send_right(port));
    let ports = PrivilegedPorts { host: right(HOST), device: right(DEVICES) };
    let scripts = Scripts { kernel: kernel.clone(), log: Rc::default(), replies: Rc::default(), doomed: RefCell::default() };
    let (log, replies) = (scripts.log.clone(), scripts.replies.clone());
    let mut supervisor = Supervisor::new(scripts, ports).unwrap();
    let verdict = supervisor.run(&manifest::parse(text).unwrap());
    let replies = replies.borrow().iter().map(|port| kernel.next_sent(*port)).collect();
    drop(supervisor);
    Outcome { verdict, log: log.take(), console: kernel.console(), replies }
}

#[test]
fn pagers_are_ready_before_programs_start_and_programs_run_one_after_the_other() {
    let outcome = supervise("pager swap pager device=vda\nrun one ok a b\nrun two ok");
    assert_eq!(outcome.verdict, Ok(()));
    let expected = ["start swap [\"device=vda\"]", "start one [\"a\", \"b\"]", "end one", "start two []", "end two"];
    assert_eq!(outcome.log, expected);
}

#[test]
fn the_first_failure_is_the_verdict_and_the_rest_still_runs() {
    let outcome = supervise("run one bad\nrun two crash\nrun three ok");
    assert_eq!(outcome.verdict, Err("one: exit status 3".into()));
    assert!(outcome.log.contains(&"end three".into()));
    assert!(outcome.console.contains("two: EXC_BAD_ACCESS INVALID_ADDRESS 0xbad at pc 0x401234\n"), "{}", outcome.console);
}

#[test]
fn an_expected_exception_is_a_success_and_its_absence_is_none() {
    assert_eq!(supervise("run one crash expect=exception").verdict, Ok(()));
    assert_eq!(supervise("run one ok expect=exception").verdict, Err("one: it ended without an exception: exit status 0".into()));
    let crashed = supervise("run one crash").verdict.unwrap_err();
    assert!(crashed.starts_with("one: EXC_BAD_ACCESS"), "{crashed}");
}

#[test]
fn a_pager_that_is_not_ready_ends_it_all() {
    let outcome = supervise("pager net wrong-name\nrun one ok");
    assert_eq!(outcome.verdict, Err("net: it ended before it was ready: exit status 0".into()));
    assert_eq!(outcome.log.len(), 2, "nothing was started after it: {:?}", outcome.log);
    assert_eq!(supervise("pager net nowhere").verdict, Err("net: the ramdisk has no such program".into()));
}

#[test]
fn waiting_has_an_end_if_the_manifest_says_so() {
    let outcome = supervise("set timeout=5\nrun one silent\nrun two ok");
    assert_eq!(outcome.verdict, Err("one: not done in time".into()));
    assert_eq!(outcome.log, ["start one []", "end one", "start two []", "end two"]);
}

#[test]
fn services_are_found_at_once_or_when_they_are_registered() {
    let outcome = supervise("pager swap pager\nspawn early asks late\nrun now asks swap privileged\npager late pager\nrun last ok");
    // `privileged` stands behind an argument, and so is none.
    assert_eq!(outcome.verdict, Ok(()));
    let found = |at: usize| {
        let sent = outcome.replies[at].as_ref().expect("an answer");
        decode_reply::<bootstrap_look_up::Reply>(sent.bytes()).map(|reply| sent.port(reply.service).is_some())
    };
    assert_eq!((found(0), found(2)), (Ok(true), Ok(true)));
    let sent = outcome.replies[3].as_ref().unwrap();
    assert_eq!(decode_reply::<bootstrap_ports::Reply>(sent.bytes()), Err(Code::NO_ACCESS));
}

#[test]
fn trusted_tasks_get_the_privileged_ports() {
    let outcome = supervise("pager swap pager\nrun one asks privileged swap");
    assert_eq!(outcome.verdict, Ok(()));
    let sent = outcome.replies[1].as_ref().unwrap();
    let reply = decode_reply::<bootstrap_ports::Reply>(sent.bytes()).unwrap();
    let port = |port: Port| sent.port(port);
    assert_eq!((port(reply.host), port(reply.device)), (Some(HOST), Some(DEVICES)));
}

#[test]
fn a_name_belongs_to_one_task() {
    let outcome = supervise("set timeout=1\npager swap pager\npager swap pager");
    assert_eq!(outcome.verdict, Err("swap: not done in time".into()));
}

#[test]
fn a_death_without_a_word_is_noticed() {
    let outcome = supervise("spawn victim dies\nrun one killer\nrun two ok");
    assert_eq!(outcome.verdict, Err("victim: it died without a word".into()));
    assert_eq!(supervise("spawn victim dies expect=death\nrun one killer\nrun two ok").verdict, Ok(()));
}

//! A pager behind the real serve loop, with the fake kernel on the other side.

use abi::Code;
use abi::call::default_pager::{default_pager_info, default_pager_object_create};
use abi::call::notify::mach_notify_send_once;
use abi::vm::Protection;
use pager::testing::{Answer, Harness};
use pager::{Attributes, Control, Info, ObjectId, OnDeadline, Pager, Policy, Returned, Run, Supply};
use runtime::fake::{FakeKernel, Load};
use runtime::{Pages, Received};

/// Remembers what it was told, and supplies pages full of their page number.
#[derive(Default)]
struct Counting {
    heard: Vec<String>,
    kept: Vec<(Control, Run)>,
    keep: bool,
    deadline: Option<u64>,
}

fn numbered(run: Run) -> Pages {
    let mut pages = Pages::allocate(run.length()).unwrap();
    for (page, bytes) in (run.first_page()..).zip(pages.chunks_exact_mut(4096)) {
        bytes.fill(page as u8);
    }
    pages
}

impl Pager for Counting {
    fn create(&mut self, object: ObjectId, size: u64) -> Result<(), Code> {
        self.heard.push(format!("create {} {size}", object.0));
        if size == 0 { Err(Code::INVALID_ARGUMENT) } else { Ok(()) }
    }

    fn init(&mut self, object: &Control) -> Option<Attributes> {
        self.heard.push(format!("init {}", object.object().0));
        let on_deadline = OnDeadline::Error;
        let policy = Policy { return_requests: true, discards: true, run_pages: 9999, deadline_ms: 7, on_deadline };
        Some(Attributes { policy: Some(policy), ..Attributes::default() })
    }

    fn adopt(&mut self, object: &Control, size: u64) {
        self.heard.push(format!("adopt {} {size}", object.object().0));
    }

    fn data_request(&mut self, object: &Control, run: Run, _: Protection) {
        if self.keep {
            self.kept.push((object.clone(), run));
        } else {
            object.supply(run.offset(), numbered(run));
        }
    }

    fn data_return(&mut self, _: &Control, run: Run, pages: Pages, how: Returned) {
        self.heard.push(format!("return {} {} {} {}", run.first_page(), run.pages(), pages[0], how.initial));
    }

    fn discard(&mut self, _: &Control, run: Run) {
        self.heard.push(format!("discard {} {}", run.first_page(), run.pages()));
    }

    fn terminate(&mut self, object: &Control) {
        self.heard.push(format!("terminate {}", object.object().0));
    }

    fn gone(&mut self, object: ObjectId) {
        self.heard.push(format!("gone {}", object.0));
    }

    fn info(&mut self) -> Option<Info> {
        Some(Info { total: 1 << 33, free: 5 })
    }

    fn event(&mut self, message: Received<'_>) {
        self.heard.push(format!("event {}", message.id()));
    }

    fn deadline(&self) -> Option<u64> {
        self.deadline
    }

    fn tick(&mut self) {
        self.heard.push("tick".into());
        self.deadline = None;
    }
}

fn run(page: u64, pages: u64) -> Run {
    Run::of_pages(page, pages).unwrap()
}

fn harness() -> Harness<Counting> {
    Harness::new(|_: &FakeKernel| Counting::default())
}

#[test]
fn a_page_in_is_answered_by_moved_pages() {
    let mut harness = harness();
    let object = harness.map_service();
    let ready =
        [Answer::Policy { flags: 3, run_pages: 256, deadline_ms: 7, on_deadline: 1 }, Answer::Ready { may_cache: false, copy_strategy: 2 }];
    assert_eq!(harness.answers(&object), ready);
    harness.request(&object, run(5, 2));
    let mut bytes = vec![5; 4096];
    bytes.extend([6; 4096]);
    assert_eq!(harness.answers(&object), [Answer::Supply { offset: 5 * 4096, bytes }]);
    assert_eq!(harness.kernel.pages(), 0, "supplied pages leave the pager");
    let tally = harness.server.tally();
    assert_eq!((tally.requests, tally.pages_requested, tally.pages_answered), (1, 2, 2));
    assert_eq!(harness.server.unanswered(), []);
}

#[test]
fn answers_may_come_late_and_the_book_sees_what_is_wrong() {
    let mut harness = harness();
    harness.server.pager_mut().keep = true;
    let object = harness.map_service();
    harness.answers(&object);
    harness.request(&object, run(0, 8));
    let (control, asked) = harness.server.pager_mut().kept.pop().unwrap();
    assert_eq!((asked, harness.server.unanswered()), (run(0, 8), vec![(ObjectId::SERVICE, 8, 0)]));
    control.unavailable(run(0, 4));
    control.error(run(3, 3), Code::D_IO_ERROR);
    control.supply_with(6 * 4096, numbered(run(6, 4)), Supply { precious: true, ..Supply::default() });
    let answers = harness.answers(&object);
    assert_eq!(answers[..2], [Answer::Unavailable(run(0, 4)), Answer::Error(run(3, 3), Code::D_IO_ERROR)]);
    let tally = harness.server.tally();
    assert_eq!((tally.pages_answered, tally.answered_again, tally.unasked), (8, 1, 2));
    assert_eq!(harness.server.unanswered(), []);
}

#[test]
fn the_default_answers_lose_nothing() {
    let mut harness = harness();
    let object = harness.map_service();
    harness.answers(&object);
    harness.return_request(&object, run(1, 2));
    harness.unlock(&object, run(4, 1), Protection::WRITE);
    harness.request(&object, run(7, 1));
    harness.device_failed(&object, run(7, 1), Code::D_IO_ERROR);
    let answers = harness.answers(&object);
    assert_eq!(answers[0], Answer::AsData(run(1, 2)));
    assert_eq!(answers[1], Answer::Lock { run: run(4, 1), lock_value: 0 });
    assert_eq!(answers[3], Answer::Error(run(7, 1), Code::D_IO_ERROR));
    harness.data_return(&object, 4096, vec![9; 8192]);
    harness.discard(&object, run(1, 1));
    assert_eq!(harness.server.pager().heard, ["init 0", "return 1 2 9 false", "discard 1 1"]);
    assert_eq!(harness.kernel.pages(), 0, "returned pages are given back");
}

#[test]
fn objects_of_clients_and_of_the_kernel_come_and_go() {
    let mut harness = harness();
    let names = harness.kernel.names().len();
    let client = harness.create(65536).unwrap();
    let own = harness.adopt(1 << 44);
    assert_eq!(harness.create(0), Err(Code::INVALID_ARGUMENT));
    harness.terminate(&own);
    harness.terminate(&client);
    let again = harness.map(client.port);
    harness.terminate(&again);
    assert!(harness.kernel.tell_no_senders(client.port));
    harness.pump();
    let expected = [
        "create 1 65536",
        "init 1",
        "adopt 2 17592186044416",
        "create 3 0",
        "terminate 2",
        "gone 2",
        "terminate 1",
        "init 1",
        "terminate 1",
        "gone 1",
    ];
    assert_eq!(harness.server.pager().heard, expected);
    // The thread's reply port and the task's own are made on first use, and both were used before.
    assert_eq!(harness.kernel.names().len(), names, "rights leaked");
}

#[test]
fn nonsense_is_counted_and_changes_nothing() {
    let mut harness = harness();
    let object = harness.map_service();
    harness.answers(&object);
    harness.tell(&object, |control| abi::call::memory_object::memory_object_data_request::Request {
        control,
        offset: 12,
        length: 4096,
        desired_access: 1,
    });
    harness.data_return(&object, 0, vec![1; 100]);
    let mut load = Load::default();
    let control = load.send(harness.kernel.outside_port());
    let orphan = abi::call::pvmach::memory_object_discard::Request { control, offset: 0, length: 4096 };
    let port = harness.server.create(4096).unwrap();
    harness.kernel.send_with(harness.kernel.port_of(port.name).unwrap(), &orphan, load);
    harness.pump();
    assert_eq!(harness.server.tally().malformed, 3);
    assert_eq!((harness.answers(&object), harness.kernel.pages()), (vec![], 0));
}

#[test]
fn clients_are_answered() {
    let mut harness = harness();
    let reply = harness.kernel.outside_port();
    let ask = |harness: &mut Harness<Counting>, message: &dyn Fn(&FakeKernel, Load)| {
        let mut load = Load::default();
        load.reply_to(reply);
        message(&harness.kernel.clone(), load);
        harness.pump();
        harness.kernel.next_sent(reply).unwrap()
    };
    let service = harness.service();
    let made = ask(&mut harness, &|kernel, load| kernel.send_with(service, &default_pager_object_create::Request { size: 1 }, load));
    let made = abi::table::decode_reply::<default_pager_object_create::Reply>(made.bytes());
    assert!(made.is_ok_and(|reply| reply.object.name != 0));
    let info = ask(&mut harness, &|kernel, load| kernel.send_with(service, &default_pager_info::Request {}, load));
    let info = abi::table::decode_reply::<default_pager_info::Reply>(info.bytes()).unwrap();
    assert_eq!(info.info.0, [0, 2, 5, 0, 4096, 0]);
}

#[test]
fn other_ports_and_deadlines_reach_the_pager() {
    let mut harness = harness();
    let own = runtime::port::allocate().unwrap();
    harness.server.watch(&own).unwrap();
    harness.kernel.send(harness.kernel.port_of(own.name()).unwrap(), &mach_notify_send_once::Request {});
    harness.pump();
    harness.server.pager_mut().deadline = Some(5_000_000);
    let began = runtime::time::now_ns();
    assert_eq!(harness.server.step(None), Ok(false));
    assert_eq!(runtime::time::now_ns() - began, 5_000_000, "it slept until the deadline");
    assert_eq!(harness.server.pager().heard, ["event 71", "tick"]);
}

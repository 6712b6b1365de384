//! The runtime on the fake kernel: calls, rights that give themselves back, memory that moves, and the clock.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use abi::call::bootstrap::{bootstrap_look_up, bootstrap_register};
use abi::call::device::{device_read, device_write};
use abi::call::memory_object::memory_object_data_return;
use abi::call::notify::mach_notify_send_once;
use abi::item::Text;
use abi::message::{Memory, Port};
use abi::{Code, Message};
use runtime::device::Device;
use runtime::fake::{Answer, BOOTSTRAP, DEVICES, FakeKernel, Load};
use runtime::{Mapping, Pages, Receiver, SendRight, port, print, println, rpc, time};

fn right(kernel: &FakeKernel, to: runtime::fake::PortId) -> SendRight {
    SendRight::from_name(kernel.give_send_right(to))
}

/// Makes the names that last as long as the task: its own port and the reply port.
fn settled(kernel: &FakeKernel) -> Vec<u32> {
    rpc::call(runtime::task::own(), &abi::call::mach::task_suspend::Request {}).unwrap_err();
    kernel.names()
}

#[test]
fn a_registered_service_is_named_to_the_bootstrap_task() {
    let (kernel, _installed) = FakeKernel::install();
    let names = settled(&kernel);
    let heard = Rc::new(RefCell::new(Vec::new()));
    let log = heard.clone();
    kernel.serve_bootstrap(move |name, port| log.borrow_mut().push((name.to_owned(), port)));
    let service = port::allocate().unwrap();
    runtime::bootstrap::register("disk", service.send_port()).unwrap();
    assert_eq!(heard.take(), [("disk".to_owned(), kernel.port_of(service.name()).unwrap())]);
    let ports = runtime::bootstrap::ports().unwrap();
    assert_ne!(ports.host.name(), ports.device.name());
    drop((service, ports));
    assert_eq!(kernel.names(), names, "rights leaked");
}

#[test]
fn errors_and_silence_are_told_apart() {
    let (kernel, _installed) = FakeKernel::install();
    let names = settled(&kernel);
    let refuses = right(&kernel, kernel.service(|_| Answer::to::<bootstrap_register::Request>(Err(Code::NAME_EXISTS))));
    let request = bootstrap_register::Request { name: Text("x".into()), service: Port::NULL };
    assert_eq!(refuses.call(&request), Err(Code::NAME_EXISTS));
    let other = right(&kernel, kernel.service(|_| Answer::to::<bootstrap_look_up::Request>(Err(Code::FAILURE))));
    assert_eq!(other.call(&request), Err(Code::MIG_REPLY_MISMATCH));
    let silent = right(&kernel, kernel.outside_port());
    let before = time::now();
    assert_eq!(rpc::call_within(silent.name(), &request, Duration::from_micros(1500)), Err(Code::RCV_TIMED_OUT));
    assert_eq!(time::now() - before, Duration::from_millis(2), "timeouts are rounded up");
    drop((refuses, silent));
    assert_eq!(rpc::send(other.name(), &mach_notify_send_once::Request {}), Ok(()));
    let gone = other.name();
    drop(other);
    assert_eq!(rpc::call(gone, &request), Err(Code::SEND_INVALID_DEST));
    settled(&kernel);
    assert_eq!(kernel.names().len(), names.len(), "rights leaked");
}

#[test]
fn requests_and_replies_may_be_longer_than_the_stacks_buffer() {
    let (kernel, _installed) = FakeKernel::install();
    let echo = kernel.service(|sent| {
        let request = sent.decode::<abi::call::mach::thread_set_state::Request>().unwrap();
        let count = request.state.0.iter().sum();
        let state = abi::item::Words((0..count).collect());
        Answer::to::<abi::call::mach::thread_get_state::Request>(Ok(abi::call::mach::thread_get_state::Reply { state }))
    });
    let echo = right(&kernel, echo);
    // Two routines with one reply id between them aren't at hand, so the request is sent as one and the reply read as the other.
    struct Long(abi::call::mach::thread_set_state::Request);
    impl Message for Long {
        const ID: i32 = abi::call::mach::thread_set_state::Request::ID;
        fn encode(&self, writer: &mut abi::message::Writer<'_>) -> Result<(), abi::message::Malformed> {
            self.0.encode(writer)
        }
        fn decode(_: &mut abi::message::Reader<'_>) -> Result<Self, abi::message::Malformed> {
            Err(abi::message::Malformed)
        }
    }
    impl abi::Routine for Long {
        type Reply = abi::call::mach::thread_get_state::Reply;
    }
    let mut words = vec![0; 900];
    words[899] = 1000;
    let reply = echo.call(&Long(abi::call::mach::thread_set_state::Request { flavor: 1, state: abi::item::Words(words) })).unwrap();
    assert_eq!((reply.state.0.len(), reply.state.0[999]), (1000, 999));
}

#[test]
fn pages_move_out_and_come_in_without_a_leak() {
    let (kernel, _installed) = FakeKernel::install();
    let disk = Rc::new(RefCell::new(Vec::new()));
    let stored = disk.clone();
    let port = kernel.service(move |sent| match sent.decode::<device_write::Request>() {
        Ok(request) => {
            *stored.borrow_mut() = sent.memory(request.data).to_vec();
            let bytes_written = stored.borrow().len() as i32;
            Answer::to::<device_write::Request>(Ok(device_write::Reply { bytes_written }))
        }
        Err(_) => {
            let data = Memory { address: 1, size: stored.borrow().len() as u64, deallocate: false };
            Answer::with_memory::<device_read::Request>(device_read::Reply { data }, stored.borrow().clone())
        }
    });
    kernel.serve(DEVICES, move |_| {
        let reply = abi::call::device::device_open::Reply { device: Port::move_send(1) };
        Answer::with_sends::<abi::call::device::device_open::Request>(reply, &[port])
    });
    let device = Device::open(&right(&kernel, DEVICES), "vda", 3).unwrap();
    device.write(0, b"some bytes").unwrap();
    let pages = device.read(0, 10).unwrap();
    assert_eq!((&*pages, kernel.pages()), (&b"some bytes"[..], 1));
    let outside = kernel.outside_port();
    let to = right(&kernel, outside);
    let message = |data| memory_object_data_return::Request { control: Port::NULL, offset: 0, data, dirty: true, kernel_copy: false };
    pages.send(to.name(), message).unwrap();
    assert_eq!(kernel.pages(), 0, "moved memory leaves the task");
    let (code, back) = Pages::allocate(100).unwrap().send(u32::MAX - 1, message).unwrap_err();
    assert_eq!((code, back.len(), kernel.pages()), (Code::SEND_INVALID_DEST, 4096, 1));
    drop(back);
    assert_eq!(kernel.pages(), 0);
}

#[test]
fn what_nobody_claims_is_given_back() {
    let (kernel, _installed) = FakeKernel::install();
    let own = port::allocate().unwrap();
    let to = kernel.port_of(own.name()).unwrap();
    let names = settled(&kernel);
    let send = |kernel: &FakeKernel| {
        let mut load = Load::default();
        let control = load.send(kernel.outside_port());
        let data = load.memory(vec![7; 5000]);
        load.reply_to(kernel.outside_port());
        let message = memory_object_data_return::Request { control, offset: 0, data, dirty: true, kernel_copy: false };
        kernel.send_with(to, &message, load);
    };
    let mut receiver = Receiver::new(32).unwrap();
    send(&kernel);
    drop(receiver.receive(own.name(), None).unwrap());
    assert_eq!((kernel.names(), kernel.pages()), (names.clone(), 0));
    send(&kernel);
    let mut message = receiver.receive(own.name(), None).unwrap();
    let request = message.decode::<memory_object_data_return::Request>().unwrap();
    let pages = message.claim_memory(request.data).unwrap();
    let control = message.claim_send(request.control).unwrap();
    assert!(message.claim_memory(request.data).is_none() && message.claim_send(request.control).is_none(), "claimed twice");
    let reply = message.take_reply().unwrap();
    assert_eq!((pages.len(), pages[4999], kernel.pages()), (5000, 7, 2));
    drop((pages, control, reply));
    assert_eq!((kernel.names(), kernel.pages()), (names, 0));
}

#[test]
fn lines_are_printed_whole() {
    let (kernel, _installed) = FakeKernel::install();
    // The line's buffer is the process's, and other tests print nothing.
    print!("one {}", 1);
    assert_eq!(kernel.console(), "");
    println!(" two\0{}", '!');
    assert_eq!(kernel.console(), "one 1 two?!\n");
    println!("{}", "x".repeat(3000));
    assert_eq!(kernel.console().len(), 12 + 3001);
}

#[test]
fn sleeping_takes_the_time_it_says() {
    let (kernel, _installed) = FakeKernel::install();
    time::sleep(Duration::from_millis(30));
    assert_eq!(time::now_ns(), 30_000_000);
    kernel.advance_ms(1);
    assert_eq!(time::now_ns(), 31_000_000);
    assert!(kernel.next_sent(BOOTSTRAP).is_none());
}

#[test]
fn mappings_copy_at_any_alignment() {
    let (kernel, _installed) = FakeKernel::install();
    let mapping = Mapping::anonymous(5000).unwrap();
    assert_eq!(mapping.size(), 8192);
    let bytes: Vec<u8> = (0..100).collect();
    for offset in [0, 3, 4090, 8092] {
        mapping.write(offset, &bytes);
        let mut back = [0; 100];
        mapping.read(offset, &mut back);
        assert_eq!(back[..], bytes);
    }
    assert_eq!(mapping.load_u64(16), u64::from_le_bytes([13, 14, 15, 16, 17, 18, 19, 20]));
    drop(mapping);
    assert_eq!(kernel.pages(), 0);
}

#[test]
#[should_panic(expected = "of a mapping of 0x1000 bytes")]
fn nothing_outside_a_mapping_is_touched() {
    let (_kernel, _installed) = FakeKernel::install();
    let _ = Mapping::anonymous(1).unwrap().load_u64(4096);
}

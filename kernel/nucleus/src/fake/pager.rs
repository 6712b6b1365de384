//! A pager as a user program: it answers as a test says, well or badly.

use std::boxed::Box;
use std::vec::Vec;

use abi::call::{device, gnumach, mach, memory_object, memory_object_default, pvmach, pvmach_control};
use abi::item::Text;
use abi::message::{Memory, Port};
use abi::vm::{CopyStrategy, PAGE_SIZE};
use abi::{Code, trap};

use super::user::User;

/// An answer to a request for some pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The pages' numbers, in their first words.
    Data,
    Unavailable,
    Error(Code),
    /// From where page-out put them.
    FromDevice,
    /// Later, in milliseconds.
    Sleep(u32),
    /// The pager's task ends.
    Die,
}

/// Sectors of a page.
const RECORDS: u64 = PAGE_SIZE / 512;

/// What it does with each request: first page, pages.
type Plan = Box<dyn FnMut(u64, u64) -> Vec<Answer> + Send + Sync>;

pub(crate) struct PagerProgram {
    /// Where requests come.
    pub(crate) port: u32,
    /// device_master, for those that use the disk.
    pub(crate) devices: u32,
    /// flags, run pages, deadline in milliseconds, what then.
    pub(crate) policy: Option<(u32, u32, u32, u32)>,
    pub(crate) strategy: CopyStrategy,
    pub(crate) plan: Plan,
}

impl PagerProgram {
    pub(crate) fn new(port: u32, plan: impl FnMut(u64, u64) -> Vec<Answer> + Send + Sync + 'static) -> Self {
        Self { port, devices: 0, policy: None, strategy: CopyStrategy::None, plan: Box::new(plan) }
    }

    /// A pager that answers as it should.
    pub(crate) fn good(port: u32) -> Self {
        Self::new(port, |_, _| std::vec![Answer::Data])
    }

    /// Serves for ever.
    pub(crate) async fn run(mut self, user: User) {
        let device = if self.devices == 0 { 0 } else { open(&user, self.devices).await };
        loop {
            let (code, bytes) = user.receive(self.port, None).await;
            assert_eq!(code, Code::SUCCESS);
            self.message(&user, device, &bytes).await;
        }
    }

    /// The default pager: its memory is on the disk. Registers itself first.
    pub(crate) async fn swap(mut self, user: User, host: u32) {
        let device = open(&user, self.devices).await;
        // What brings pages back must not be away itself.
        let task = Port::copy_send(user.task().await);
        let flags = gnumach::VM_WIRE_CURRENT | gnumach::VM_WIRE_FUTURE;
        user.rpc(host, &gnumach::vm_wire_all::Request { task, flags }).await.expect("there is memory");
        let manager = Port { name: self.port, kind: abi::message::kind::MAKE_SEND };
        let request = mach::vm_set_default_memory_manager::Request { default_manager: manager };
        user.rpc(host, &request).await.expect("there is none yet");
        let (_, bytes) = user.receive(self.port, None).await;
        let Some(Ok(memory_object_default::Call::memory_object_create(create))) = memory_object_default::Call::decode(&bytes) else {
            panic!("the first message makes the object");
        };
        self.port = create.new_object.name;
        self.be_ready(&user, create.new_control.name).await;
        loop {
            let (code, bytes) = user.receive(self.port, None).await;
            assert_eq!(code, Code::SUCCESS);
            self.message(&user, device, &bytes).await;
        }
    }

    async fn be_ready(&self, user: &User, control: u32) {
        if let Some((flags, run_pages, deadline_ms, on_deadline)) = self.policy {
            user.send(control, &pvmach_control::memory_object_set_policy::Request { flags, run_pages, deadline_ms, on_deadline }).await;
        }
        user.send(control, &mach::memory_object_ready::Request { may_cache: false, copy_strategy: self.strategy as u32 }).await;
    }

    async fn message(&mut self, user: &User, device: u32, bytes: &[u8]) {
        match memory_object::Call::decode(bytes) {
            Some(Ok(memory_object::Call::memory_object_init(call))) => self.be_ready(user, call.control.name).await,
            Some(Ok(memory_object::Call::memory_object_data_request(call))) => {
                for answer in (self.plan)(call.offset / PAGE_SIZE, call.length / PAGE_SIZE) {
                    answer_with(user, device, answer, &call).await;
                }
            }
            Some(Ok(memory_object::Call::memory_object_data_return(call))) => {
                let task = user.task().await;
                user.read(call.data.address, call.data.size as usize).await;
                user.trap(trap::VM_DEALLOCATE, &[task.into(), call.data.address, call.data.size]).await;
            }
            Some(Ok(_)) => (),
            Some(Err(_)) => panic!("the kernel sent a malformed message"),
            None => returns(user, device, bytes).await,
        }
    }
}

async fn open(user: &User, devices: u32) -> u32 {
    let request = device::device_open::Request { mode: device::D_READ | device::D_WRITE, name: Text("vda".into()) };
    user.rpc(devices, &request).await.expect("there is a disk").device.name
}

async fn answer_with(user: &User, device: u32, answer: Answer, call: &memory_object::memory_object_data_request::Request) {
    let (control, offset, length) = (call.control.name, call.offset, call.length);
    match answer {
        Answer::Data => {
            let address = user.allocate(length / PAGE_SIZE).await;
            for page in 0..length / PAGE_SIZE {
                user.store(address + page * PAGE_SIZE, offset / PAGE_SIZE + page).await;
            }
            let data = Memory { address, size: length, deallocate: true };
            let supply = mach::memory_object_data_supply::Request { offset, data, lock_value: 0, precious: false, reply_to: Port::NULL };
            user.send(control, &supply).await;
        }
        Answer::Unavailable => {
            user.send(control, &mach::memory_object_data_unavailable::Request { offset, size: length }).await;
        }
        Answer::Error(error) => {
            user.send(control, &mach::memory_object_data_error::Request { offset, size: length, error }).await;
        }
        Answer::FromDevice => {
            let record = offset / PAGE_SIZE * RECORDS;
            let device = Port::copy_send(device);
            user.send(control, &pvmach_control::memory_object_supply_from_device::Request { offset, length, device, record }).await;
        }
        Answer::Sleep(milliseconds) => user.sleep(milliseconds).await,
        Answer::Die => user.terminate_task().await,
    }
}

/// Pages that go to the disk.
async fn returns(user: &User, device: u32, bytes: &[u8]) {
    if let Some(Ok(pvmach::Call::memory_object_return_request(call))) = pvmach::Call::decode(bytes) {
        let (offset, length, device) = (call.offset, call.length, Port::copy_send(device));
        let record = offset / PAGE_SIZE * RECORDS;
        user.send(call.control.name, &pvmach_control::memory_object_return_to_device::Request { offset, length, device, record }).await;
    }
}

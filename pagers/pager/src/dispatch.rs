//! Served: from the message to the pager's method (page's life, step 6: Served).
//!
//! A message that makes no sense is counted and dropped; what it carried is given back by `Received`.

use abi::Code;
use abi::call::default_pager::{Call as ClientCall, default_pager_info, default_pager_object_create};
use abi::call::memory_object::Call as KernelCall;
use abi::call::memory_object_default::Call as DefaultCall;
use abi::call::notify::mach_notify_no_senders;
use abi::call::pvmach::Call as ExtensionCall;
use abi::item::Words;
use abi::message::{Memory, Port};
use abi::vm::{PAGE_SIZE, Protection};
use runtime::{Received, port};

use crate::objects::Origin;
use crate::serve::Ports;
use crate::{Control, Info, Pager, Returned, Run};

/// Serves one message.
pub(crate) fn message<P: Pager>(pager: &mut P, ports: &mut Ports, message: Received<'_>) {
    let understood = if let Some(call) = KernelCall::decode(message.bytes()) {
        call.ok().and_then(|call| kernel_call(pager, ports, message, call))
    } else if let Some(call) = ExtensionCall::decode(message.bytes()) {
        call.ok().and_then(|call| extension_call(pager, ports, &message, call))
    } else if let Some(call) = DefaultCall::decode(message.bytes()) {
        call.ok().and_then(|call| default_call(pager, ports, message, call))
    } else if let Some(call) = ClientCall::decode(message.bytes()) {
        call.ok().map(|call| client_call(pager, ports, message, call))
    } else if message.decode::<mach_notify_no_senders::Request>().is_ok() && ports.objects.get(message.local()).is_some() {
        no_senders(pager, ports, message.local());
        Some(())
    } else {
        pager.event(message);
        Some(())
    };
    if understood.is_none() {
        let mut tally = ports.tally.get();
        tally.malformed += 1;
        ports.tally.set(tally);
    }
}

/// The control of the object that a message came for.
fn control(ports: &mut Ports, message: &Received<'_>) -> Option<Control> {
    ports.objects.get(message.local())?.control.clone()
}

fn kernel_call<P: Pager>(pager: &mut P, ports: &mut Ports, mut message: Received<'_>, call: KernelCall) -> Option<()> {
    if let KernelCall::memory_object_init(request) = &call {
        return init(pager, ports, &mut message, request.control);
    }
    let object = control(ports, &message)?;
    match call {
        KernelCall::memory_object_init(_) => {}
        KernelCall::memory_object_terminate(_) => terminate(pager, ports, &message, &object),
        KernelCall::memory_object_data_request(request) => {
            let run = Run::new(request.offset, request.length)?;
            object.asked(run);
            pager.data_request(&object, run, Protection::from_bits_truncate(request.desired_access));
        }
        KernelCall::memory_object_data_unlock(request) => {
            let run = Run::new(request.offset, request.length)?;
            pager.data_unlock(&object, run, Protection::from_bits_truncate(request.desired_access));
        }
        KernelCall::memory_object_data_return(request) => {
            let how = Returned { dirty: request.dirty, kernel_copy: request.kernel_copy, initial: false };
            return data_return(pager, &object, message, request.offset, request.data, how);
        }
        KernelCall::memory_object_lock_completed(request) => pager.lock_completed(&object, Run::new(request.offset, request.length)?),
        KernelCall::memory_object_supply_completed(request) => {
            let run = Run::new(request.offset, request.length)?;
            pager.supply_completed(&object, run, request.result, request.error_offset);
        }
        // The copy strategy CALL is never asked for by this framework, and a change needs nothing done when it is complete.
        KernelCall::memory_object_copy(_) => return None,
        KernelCall::memory_object_change_completed(_) => {}
    }
    Some(())
}

fn init<P: Pager>(pager: &mut P, ports: &mut Ports, message: &mut Received<'_>, right: Port) -> Option<()> {
    let local = message.local();
    let tally = ports.tally.clone();
    let object = ports.objects.get(local)?;
    let right = message.claim_send(right)?;
    let control = Control::new(object.id, object.port.name(), right, tally);
    object.control = Some(control.clone());
    if let Some(attributes) = pager.init(&control) {
        control.ready(attributes);
    }
    Some(())
}

fn terminate<P: Pager>(pager: &mut P, ports: &mut Ports, message: &Received<'_>, control: &Control) {
    control.forget();
    pager.terminate(control);
    let Some(object) = ports.objects.get(message.local()) else { return };
    object.control = None;
    if object.origin == Origin::Kernel {
        let id = object.id;
        ports.objects.remove(message.local());
        pager.gone(id);
    }
}

fn data_return<P: Pager>(
    pager: &mut P,
    object: &Control,
    mut message: Received<'_>,
    offset: u64,
    data: Memory,
    how: Returned,
) -> Option<()> {
    let run = Run::new(offset, data.size)?;
    let pages = message.claim_memory(data)?;
    pager.data_return(object, run, pages, how);
    Some(())
}

fn extension_call<P: Pager>(pager: &mut P, ports: &mut Ports, message: &Received<'_>, call: ExtensionCall) -> Option<()> {
    let object = control(ports, message)?;
    match call {
        ExtensionCall::memory_object_return_request(request) => {
            let run = Run::new(request.offset, request.length)?;
            object.asked_to_return(run);
            pager.return_request(&object, run);
        }
        ExtensionCall::memory_object_discard(request) => pager.discard(&object, Run::new(request.offset, request.length)?),
        ExtensionCall::memory_object_device_failed(request) => {
            pager.device_failed(&object, Run::new(request.offset, request.length)?, request.result);
        }
    }
    Some(())
}

fn default_call<P: Pager>(pager: &mut P, ports: &mut Ports, mut message: Received<'_>, call: DefaultCall) -> Option<()> {
    match call {
        DefaultCall::memory_object_create(request) => {
            let object_port = message.claim_receive(request.new_object)?;
            let right = message.claim_send(request.new_control)?;
            let name = object_port.name();
            let id = ports.add(Origin::Kernel, object_port).ok()?;
            let control = Control::new(id, name, right, ports.tally.clone());
            ports.objects.get(name.into())?.control = Some(control.clone());
            pager.adopt(&control, request.new_size);
            Some(())
        }
        DefaultCall::memory_object_data_initialize(request) => {
            let object = control(ports, &message)?;
            let how = Returned { dirty: true, kernel_copy: false, initial: true };
            data_return(pager, &object, message, request.offset, request.data, how)
        }
    }
}

fn client_call<P: Pager>(pager: &mut P, ports: &mut Ports, message: Received<'_>, call: ClientCall) {
    // A client that is gone doesn't miss its answer.
    let _ = match call {
        ClientCall::default_pager_object_create(request) => {
            let object = create(pager, ports, request.size);
            message.reply::<default_pager_object_create::Request>(&object.map(|object| default_pager_object_create::Reply { object }))
        }
        ClientCall::default_pager_info(_) => {
            let info = pager.info().map(info_words).ok_or(Code::MIG_BAD_ID);
            message.reply::<default_pager_info::Request>(&info.map(|info| default_pager_info::Reply { info }))
        }
    };
}

fn info_words(info: Info) -> Words {
    let all = [info.total, info.free, PAGE_SIZE];
    Words(all.iter().flat_map(|value| [*value as u32, (*value >> 32) as u32]).collect())
}

/// Makes an object for a client.
pub(crate) fn create<P: Pager>(pager: &mut P, ports: &mut Ports, size: u64) -> Result<Port, Code> {
    let object_port = port::allocate()?;
    let name = object_port.name();
    let once = object_port.send_once_port();
    let id = ports.add(Origin::Client, object_port)?;
    let made = pager.create(id, size).and_then(|()| port::request_notification(name, port::notification::NO_SENDERS, 1, once));
    match made {
        Ok(()) => Ok(Port::make_send(name)),
        Err(code) => {
            ports.objects.remove(name.into());
            Err(code)
        }
    }
}

fn no_senders<P: Pager>(pager: &mut P, ports: &mut Ports, local: u64) {
    if let Some(object) = ports.objects.get(local)
        && object.origin == Origin::Client
        && let Some(object) = ports.objects.remove(local)
    {
        pager.gone(object.id);
    }
}

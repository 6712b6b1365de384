//! device.defs: opening devices, reading and writing them, their memory, and the packet ring.

use alloc::sync::Arc;
use alloc::vec::Vec;

use abi::call::device::{self, Call, D_READ, D_WRITE, DEV_FLUSH, DEV_GET_RECORDS, DEV_GET_SIZE, NET_ADDRESS, NET_STATUS, RTC_SECONDS};
use abi::call::pvmach_control;
use abi::item::{Inband, Item, Words};
use abi::message::Memory;
use abi::vm::{PAGE_SIZE, Protection};
use abi::{Code, REPLY};
use frames::{Frame, FrameNumber, Purpose};
use vm::Outcome;

use super::{Answer, PortReply, Request};
use crate::disk::{Disk, Done, SECTOR};
use crate::kernel::Kernel;
use crate::kobject::{Capability, Object, Right};
use crate::machine::{BlockOp, Machine};
use crate::out_of_line::OutOfLine;

/// The most bytes that one device_read or device_write carries.
const TRANSFER_MAX: u64 = 1 << 20;
/// The most that one device_read_inband carries.
const INBAND_MAX: u64 = 128;

pub(super) fn call<M: Machine>(request: &mut Request<'_, M>, object: &Object<M>) -> Answer<M> {
    match Call::decode(&request.message.bytes) {
        Some(Ok(call)) => device_call(request, object, call),
        Some(Err(malformed)) => malformed.into(),
        None => match (pvmach_control::Call::decode(&request.message.bytes), object) {
            (Some(Ok(pvmach_control::Call::device_ring_notify(call))), Object::Net(ring)) => {
                let right = request.right(call.notify);
                request.kernel.ring_notify(ring, right);
                Answer::Code(Code::SUCCESS)
            }
            (Some(Ok(pvmach_control::Call::device_ring_kick(_))), Object::Net(ring)) => {
                request.kernel.ring_kick(ring);
                Answer::Later
            }
            (Some(Err(malformed)), _) => malformed.into(),
            _ => Answer::BadId,
        },
    }
}

fn device_call<M: Machine>(request: &mut Request<'_, M>, object: &Object<M>, call: Call) -> Answer<M> {
    match (object, call) {
        (Object::DeviceMaster, Call::device_open(call)) => match request.kernel.device_named(&call.name.0) {
            Some(object) => open(request, object, call.mode),
            None => Answer::Code(Code::D_NO_SUCH_DEVICE),
        },
        (Object::DeviceMaster, _) => Answer::Code(Code::D_INVALID_OPERATION),
        (_, Call::device_close(_)) => Answer::Code(Code::SUCCESS),
        (Object::Disk(disk), Call::device_read(call)) => read(request, disk, call.recnum, call.bytes_wanted, false),
        (Object::Disk(disk), Call::device_read_inband(call)) => read(request, disk, call.recnum, call.bytes_wanted, true),
        (Object::Random, Call::device_read_inband(call)) => random(request, call.bytes_wanted),
        (Object::Disk(disk), Call::device_write(call)) => write(request, disk, call.recnum, call.data),
        (Object::Disk(disk), Call::device_write_inband(call)) => write_inband(request, disk, call.recnum, &call.data),
        (Object::Disk(disk), Call::device_set_status(call)) if call.flavor == DEV_FLUSH => flush(request, disk),
        (_, Call::device_get_status(call)) => match status(request.kernel, object, call.flavor) {
            Some(words) if words.len() <= call.count as usize => {
                request.reply(&device::device_get_status::Reply { status: Words(words) }, Vec::new())
            }
            Some(_) => Answer::Code(Code::D_INVALID_SIZE),
            None => Answer::Code(Code::D_INVALID_OPERATION),
        },
        (Object::Ramdisk | Object::Net(_), Call::device_map(call)) => map(request, object, call.protection),
        _ => Answer::Code(Code::D_INVALID_OPERATION),
    }
}

impl<M: Machine> Kernel<M> {
    /// `vda`, `vdb` … (also `hd0`-style `wd0`), `eth0` …, `rd0`, `random`, `rtc0`.
    fn device_named(&self, name: &str) -> Option<Object<M>> {
        match name {
            "rd0" => return self.ramdisk.as_ref().map(|_| Object::Ramdisk),
            "random" => return self.random.as_ref().map(|_| Object::Random),
            "rtc0" => return self.machine.wall_clock().map(|_| Object::Clock),
            _ => {}
        }
        if let Some(number) = name.strip_prefix("eth").and_then(|number| number.parse::<usize>().ok()) {
            return self.rings.get(number).map(|ring| Object::Net(Arc::clone(ring)));
        }
        let letter = name.strip_prefix("vd").and_then(|letter| letter.bytes().next().filter(|_| letter.len() == 1))?;
        let number = letter.checked_sub(b'a')?;
        self.disks.get(usize::from(number)).map(|disk| Object::Disk(Arc::clone(disk)))
    }
}

/// device_open.
fn open<M: Machine>(request: &mut Request<'_, M>, object: Object<M>, mode: u32) -> Answer<M> {
    if mode & !(D_READ | D_WRITE) != 0 {
        return Answer::Code(Code::D_INVALID_OPERATION);
    }
    if let Object::Disk(disk) = &object
        && mode & D_WRITE != 0
        && disk.geometry().1
    {
        return Answer::Code(Code::D_READ_ONLY);
    }
    let port = match &object {
        // Whoever opens it has the same port: the device is closed when the last of them lets go.
        Object::Net(ring) => request.kernel.ring_port(ring),
        _ => ipc::Port::new_kernel(object),
    };
    match port {
        Ok(port) => request.reply_right(PortReply, port.make_send()),
        Err(_) => Answer::Code(Code::D_NO_MEMORY),
    }
}

fn status<M: Machine>(kernel: &Kernel<M>, object: &Object<M>, flavor: u32) -> Option<Vec<u32>> {
    match (object, flavor) {
        (Object::Disk(disk), DEV_GET_SIZE) => {
            let bytes = disk.geometry().0 * SECTOR;
            Some(alloc::vec![u32::try_from(bytes).unwrap_or(u32::MAX), SECTOR as u32])
        }
        (Object::Disk(disk), DEV_GET_RECORDS) => {
            let records = disk.geometry().0;
            Some(alloc::vec![records as u32, (records >> 32) as u32, SECTOR as u32])
        }
        (Object::Ramdisk, DEV_GET_SIZE) => {
            let bytes = kernel.ramdisk.as_ref()?.size();
            Some(alloc::vec![u32::try_from(bytes).unwrap_or(u32::MAX), 1])
        }
        (Object::Net(ring), NET_ADDRESS) => {
            let mac = ring.mac();
            Some(alloc::vec![u32::from_be_bytes([mac[0], mac[1], mac[2], mac[3]]), u32::from_be_bytes([mac[4], mac[5], 0, 0])])
        }
        (Object::Clock, RTC_SECONDS) => {
            let seconds = kernel.machine.wall_clock()?;
            Some(alloc::vec![seconds as u32, (seconds >> 32) as u32])
        }
        (Object::Net(ring), NET_STATUS) => Some(alloc::vec![u32::from(ring.mtu())]),
        _ => None,
    }
}

fn map<M: Machine>(request: &mut Request<'_, M>, object: &Object<M>, protection: u32) -> Answer<M> {
    let kernel = request.kernel;
    let wants_write = Protection::from_bits(protection).is_none_or(|protection| protection.contains(Protection::WRITE));
    let memory = match object {
        Object::Ramdisk if wants_write => return Answer::Code(Code::D_READ_ONLY),
        Object::Ramdisk => kernel.ramdisk.as_ref().map(|ramdisk| ramdisk.object(kernel.vm.core())).ok_or(Code::D_NO_SUCH_DEVICE),
        Object::Net(ring) => kernel.ring_map(ring),
        _ => Err(Code::D_INVALID_OPERATION),
    };
    let writable = matches!(object, Object::Net(_));
    match memory.and_then(|memory| ipc::Port::new_kernel(Object::DeviceMemory { memory, writable })) {
        Ok(port) => request.reply_right(PortReply, port.make_send()),
        Err(code) => Answer::Code(code),
    }
}

/// device_read_inband of `random`.
fn random<M: Machine>(request: &mut Request<'_, M>, wanted: i32) -> Answer<M> {
    let mut bytes = [0; INBAND_MAX as usize];
    let wanted = usize::try_from(wanted).ok().and_then(|wanted| bytes.get_mut(..wanted)).filter(|wanted| !wanted.is_empty());
    match (wanted, &request.kernel.random) {
        (None, _) => Answer::Code(Code::D_INVALID_SIZE),
        (Some(_), None) => Answer::Code(Code::D_NO_SUCH_DEVICE),
        (Some(wanted), Some(random)) => {
            random.fill(wanted);
            let data = Inband(wanted.to_vec());
            request.reply(&device::device_read_inband::Reply { data }, Vec::new())
        }
    }
}

/// Frames for a number of bytes.
fn frames_for<M: Machine>(kernel: &Kernel<M>, bytes: u64) -> Result<Vec<Frame>, Outcome> {
    let mut frames = Vec::new();
    let pages = bytes.div_ceil(PAGE_SIZE) as usize;
    frames.try_reserve_exact(pages).map_err(|_| Outcome::Shortage)?;
    for _ in 0..pages {
        match kernel.pool.allocate(Purpose::User) {
            Some(frame) => frames.push(frame),
            None => {
                frames.into_iter().for_each(|frame| kernel.pool.free(frame));
                return Err(Outcome::Shortage);
            }
        }
    }
    Ok(frames)
}

/// Frames, waiting for them if must be.
fn wait_for_frames<M: Machine>(request: &Request<'_, M>, bytes: u64) -> Result<Vec<Frame>, Answer<M>> {
    let mut frames = Vec::new();
    let waits = request.until(|| match frames_for(request.kernel, bytes) {
        Ok(found) => {
            frames = found;
            Outcome::Done
        }
        Err(outcome) => outcome,
    });
    waits.map_or(Ok(frames), Err)
}

fn numbers(frames: &[Frame]) -> Vec<FrameNumber> {
    frames.iter().map(Frame::number).collect()
}

/// The port that gets the reply, and the reply's id.
fn reply_to<M: Machine>(request: &mut Request<'_, M>) -> (Right<M>, i32) {
    (request.message.local.take().unwrap_or(Right::null()), request.message.header.id + REPLY)
}

fn read<M: Machine>(request: &mut Request<'_, M>, disk: &Arc<Disk<M>>, record: u64, wanted: i32, inband: bool) -> Answer<M> {
    let most = if inband { INBAND_MAX } else { TRANSFER_MAX };
    let bytes = match u64::try_from(wanted) {
        Ok(bytes) if bytes > 0 && bytes <= most => bytes,
        _ => return Answer::Code(Code::D_INVALID_SIZE),
    };
    let frames = match wait_for_frames(request, bytes) {
        Ok(frames) => frames,
        Err(answer) => return answer,
    };
    // What the device doesn't write must not be what was there before.
    frames.iter().for_each(|frame| request.kernel.pool.zero(frame));
    let numbers = numbers(&frames);
    let (reply, id) = reply_to(request);
    let done = Done::Read { reply, id, frames, offset: 0, bytes: bytes as usize, inband };
    request.kernel.disk_start(disk, BlockOp::Read, record, &numbers, bytes, done);
    Answer::Later
}

fn write<M: Machine>(request: &mut Request<'_, M>, disk: &Arc<Disk<M>>, record: u64, data: Memory) -> Answer<M> {
    let memory = match request.message.capabilities.get(data.address as usize) {
        Some(Some(Capability::Memory { memory, .. })) => memory.clone(),
        _ => return Answer::Code(Code::D_INVALID_SIZE),
    };
    if data.size > TRANSFER_MAX || !data.size.is_multiple_of(SECTOR) {
        return Answer::Code(Code::D_INVALID_SIZE);
    }
    let frames = match wait_for_frames(request, data.size) {
        Ok(frames) => frames,
        Err(answer) => return answer,
    };
    let kernel = request.kernel;
    let mut page = [0; PAGE_SIZE as usize];
    for (number, frame) in frames.iter().enumerate() {
        let at = number as u64 * PAGE_SIZE;
        let length = (data.size - at).min(PAGE_SIZE) as usize;
        if let Some(answer) = request.until(|| memory.read(&kernel.vm, at, &mut page[..length])) {
            frames.into_iter().for_each(|frame| kernel.pool.free(frame));
            return answer;
        }
        kernel.pool.write(frame, 0, &page[..length]);
    }
    begin_write(request, disk, record, frames, data.size)
}

fn write_inband<M: Machine>(request: &mut Request<'_, M>, disk: &Arc<Disk<M>>, record: u64, data: &Inband) -> Answer<M> {
    let bytes = data.0.len() as u64;
    if bytes == 0 || !bytes.is_multiple_of(SECTOR) {
        return Answer::Code(Code::D_INVALID_SIZE);
    }
    match wait_for_frames(request, bytes) {
        Ok(frames) => {
            frames.iter().for_each(|frame| request.kernel.pool.write(frame, 0, &data.0));
            begin_write(request, disk, record, frames, bytes)
        }
        Err(answer) => answer,
    }
}

fn begin_write<M: Machine>(request: &mut Request<'_, M>, disk: &Arc<Disk<M>>, record: u64, frames: Vec<Frame>, bytes: u64) -> Answer<M> {
    let numbers = numbers(&frames);
    let (reply, id) = reply_to(request);
    let done = Done::Write { reply, id, frames, bytes: bytes as usize };
    request.kernel.disk_start(disk, BlockOp::Write, record, &numbers, bytes, done);
    Answer::Later
}

fn flush<M: Machine>(request: &mut Request<'_, M>, disk: &Arc<Disk<M>>) -> Answer<M> {
    let (reply, id) = reply_to(request);
    request.kernel.disk_start(disk, BlockOp::Flush, 0, &[], 0, Done::Flush { reply, id });
    Answer::Later
}

impl<M: Machine> Kernel<M> {
    /// device_read's reply: the frames become the receiver's memory.
    #[expect(clippy::too_many_arguments, reason = "a finished job, taken apart")]
    pub(crate) fn read_done(
        &self,
        reply: Right<M>,
        id: i32,
        frames: Vec<Frame>,
        offset: usize,
        bytes: usize,
        inband: bool,
        result: Result<(), Code>,
    ) {
        if let Err(code) = result {
            frames.into_iter().for_each(|frame| self.pool.free(frame));
            return self.reply_later(reply, id, code, |_| Ok(()), Vec::new());
        }
        if inband {
            let mut data = alloc::vec![0; bytes];
            if let Some(frame) = frames.first() {
                self.pool.read(frame, offset, &mut data);
            }
            frames.into_iter().for_each(|frame| self.pool.free(frame));
            let data = Inband(data);
            return self.reply_later(reply, id, Code::SUCCESS, |writer| data.put(writer), Vec::new());
        }
        let Ok(copy) = vm::Copy::of_frames(self.vm.core(), frames) else {
            return self.reply_later(reply, id, Code::D_NO_MEMORY, |_| Ok(()), Vec::new());
        };
        self.vm.adopt_copy(&copy);
        let memory = OutOfLine { copy, offset: 0, size: bytes as u64, clean: true };
        let item = Memory { address: 0, size: bytes as u64, deallocate: true };
        let capability = Capability::Memory { memory, size: bytes as u64 };
        self.reply_later(reply, id, Code::SUCCESS, |writer| item.put(writer), alloc::vec![Some(capability)]);
    }
}

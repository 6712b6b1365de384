//! A device that lies, fails or dies: every buffer comes back once.

use crate::interface::{Interface, MRG_RXBUF, PLAIN, TestNet, device, interface};
use virtio::{Failure, RingError, Segment, Stopped, model::Memory};
use virtio_net::{DeviceError, Net, NetConfig, PostError, RxDone, SendError, TxDone};

fn busy(features: u64) -> (TestNet, Interface) {
    let (mut net, mut interface) = interface(features);
    for _ in 0..3 {
        interface.post(&mut net, 2048);
    }
    let part = Segment::new(interface.memory.buffer(60), 60);
    net.tx(7, &[part]).unwrap();
    net.tx(8, &[part]).unwrap();
    (net, interface)
}

fn assert_all_lost(net: &mut TestNet, interface: &Interface, failure: Failure) {
    let stopped = Stopped { failure, quiesced: true };
    let lost: Vec<_> = std::iter::from_fn(|| net.rx(|token| interface.memory.read_array(interface.posted[token as usize]))).collect();
    let wanted: Vec<_> = (0..3).map(|token| RxDone { token, result: Err(DeviceError::Lost(stopped)) }).collect();
    assert_eq!(lost, wanted);
    let lost: Vec<_> = std::iter::from_fn(|| net.tx_done()).collect();
    let wanted: Vec<_> = [7, 8].map(|token| TxDone { token, result: Err(DeviceError::Lost(stopped)) }).into();
    assert_eq!(lost, wanted);
    assert_eq!(net.stopped(), Some(stopped));
    assert!(!net.rearm_rx() && !net.rearm_tx(1));
    let addr = interface.posted[0];
    assert_eq!(net.post_rx(0, addr, 2048), Err(PostError::Down(stopped)));
    assert_eq!(net.tx(0, &[Segment::new(addr, 60)]), Err(SendError::Down(stopped)));
}

#[test]
fn a_device_that_needs_a_reset_loses_every_buffer_once() {
    let (mut net, interface) = busy(PLAIN);
    interface.device.fail();
    assert!(net.acknowledge_interrupt().queues);
    assert!(net.rearm_rx() && net.rearm_tx(5), "there is something to take");
    assert_all_lost(&mut net, &interface, Failure::NeedsReset);
}

#[test]
fn a_header_that_makes_no_sense_stops_the_device() {
    let cases = [
        (PLAIN, 0, 11, "a frame shorter than its header"),
        (PLAIN | MRG_RXBUF, 0, 60, "a frame in no buffers"),
        (PLAIN | MRG_RXBUF, 9, 60, "a frame in more buffers than the queue holds"),
    ];
    for (features, buffers, len, what) in cases {
        let (mut net, mut interface) = busy(features);
        interface.deliver_raw(buffers, len);
        assert_all_lost(&mut net, &interface, Failure::Malformed(what));
    }
}

#[test]
fn a_length_past_the_buffer_stops_the_device() {
    let (mut net, mut interface) = busy(PLAIN);
    interface.deliver_raw(1, 2049);
    let error = RingError::LengthTooBig { claimed: 2049, writable: 2048 };
    assert_all_lost(&mut net, &interface, Failure::Protocol(error));
}

#[test]
fn a_lie_on_the_transmit_queue_stops_both() {
    let (mut net, mut interface) = busy(PLAIN);
    interface.transmit.push(5, 0);
    let stopped = Stopped { failure: Failure::Protocol(RingError::NotInFlight { id: 5 }), quiesced: true };
    assert_eq!(net.tx_done().map(|done| done.result), Some(Err(DeviceError::Lost(stopped))));
    assert_eq!(net.rx(|_| [0; 12]).map(|done| done.result), Some(Err(DeviceError::Lost(stopped))));
}

#[test]
fn a_device_can_be_given_up_and_its_memory_goes_back_if_it_stops() {
    let (mut net, interface) = busy(PLAIN);
    net.give_up();
    assert_all_lost(&mut net, &interface, Failure::GivenUp);

    let memory = Memory::new();
    let device = device(&memory, PLAIN, 1500);
    drop(Net::new(device.transport(), &memory, NetConfig::default()).unwrap());
    assert_eq!(memory.live(), 0);
    let net = Net::new(device.transport(), &memory, NetConfig::default()).unwrap();
    let live = memory.live();
    device.never_reset();
    drop(net);
    assert_eq!(memory.live(), live);
}

#[test]
fn running_out_of_memory_at_any_point_leaves_nothing_behind() {
    let memory = Memory::new();
    for allocations in 0..4 {
        memory.allow(allocations);
        assert!(Net::new(device(&memory, PLAIN, 1500).transport(), &memory, NetConfig::default()).is_err());
        assert_eq!(memory.live(), 0);
    }
    memory.allow(4);
    assert!(Net::new(device(&memory, PLAIN, 1500).transport(), &memory, NetConfig::default()).is_ok());
}

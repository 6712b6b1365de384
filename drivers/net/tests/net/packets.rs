//! Frames in both directions, and what is negotiated and refused on the way.

use crate::interface::{ADDRESS, EVENT_INDEX, INDIRECT, MRG_RXBUF, MTU, PLAIN, device, interface};
use proptest::prelude::{prop, prop_assert_eq, proptest};
use virtio::{InitError, Segment, model::Memory};
use virtio_net::{HEADER_BYTES, Net, NetConfig, NetNotice, PostError, SendError, TxDone};

fn frame(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|index| (index * 7) as u8).collect()
}

#[test]
fn the_interface_is_what_the_device_says() {
    let (net, interface) = interface(PLAIN | MRG_RXBUF | 1 | 1 << 11);
    assert_eq!(interface.device.accepted_features(), PLAIN | MRG_RXBUF | 1 << 32, "no offloads");
    assert_eq!(interface.device.routed_queues(), Some(2));
    assert_eq!((net.mac(), net.mtu(), net.link_up(), net.mergeable()), (Some(ADDRESS), 1500, true, true));
    assert_eq!(net.min_rx_bytes(), HEADER_BYTES);
    assert_eq!((net.rx_depth(), net.tx_depth(1)), (8, 8));
}

#[test]
fn without_features_there_are_defaults() {
    let (net, _interface) = interface(0);
    assert_eq!((net.mac(), net.mtu(), net.link_up(), net.mergeable()), (None, 1500, true, false));
    assert_eq!(net.min_rx_bytes(), 1526);
    assert_eq!((net.tx_depth(1), net.max_segments()), (4, 7));
}

#[test]
fn the_mtu_of_the_device_counts() {
    let memory = Memory::new();
    let new = |mtu| Net::new(device(&memory, PLAIN | MTU, mtu).transport(), &memory, NetConfig::default());
    let mut net = new(9000).unwrap();
    assert_eq!((net.mtu(), net.min_rx_bytes()), (9000, 9026));
    let long = Segment::new(memory.buffer(9100), 9019);
    assert_eq!(net.tx(1, &[long]), Err(SendError::TooLong { bytes: 9019, max: 9018 }));
    net.tx(1, &[Segment::new(long.addr, 9018)]).unwrap();
    assert!(matches!(new(60).err(), Some(InitError::ConfigInvalid(_))));
}

#[test]
fn a_frame_without_merging_is_one_buffer() {
    for features in [PLAIN, PLAIN & !EVENT_INDEX] {
        let (mut net, mut interface) = interface(features);
        let small = interface.memory.buffer(2048);
        assert_eq!(net.post_rx(9, small, 1525), Err(PostError::TooSmall { len: 1525, min: 1526 }));
        interface.post(&mut net, 1526);
        interface.post(&mut net, 2048);
        net.kick_rx();
        assert_eq!(interface.device.take_kicks(0), 1);
        assert!(net.rx(|_| panic!("no header is needed")).is_none());
        interface.deliver(&frame(1514));
        interface.deliver(&frame(60));
        assert_eq!(interface.take(&mut net), Some(frame(1514)));
        assert_eq!(interface.take(&mut net), Some(frame(60)));
        assert_eq!((interface.take(&mut net), net.rx_posted()), (None, 0));
    }
}

#[test]
fn the_receive_queue_has_an_end() {
    let (mut net, mut interface) = interface(PLAIN);
    for _ in 0..8 {
        interface.post(&mut net, 1526);
    }
    let addr = interface.memory.buffer(1526);
    assert_eq!(net.post_rx(8, addr, 1526), Err(PostError::Full));
    interface.deliver(&frame(60));
    assert!(interface.take(&mut net).is_some());
    net.post_rx(8, addr, 1526).unwrap();
}

#[test]
fn a_merged_frame_says_what_belongs_to_it() {
    let (mut net, mut interface) = interface(PLAIN | MRG_RXBUF);
    for _ in 0..4 {
        interface.post(&mut net, 512);
    }
    interface.deliver(&frame(1200));
    let parts: Vec<_> = std::iter::from_fn(|| interface.take_part(&mut net)).collect();
    let told: Vec<_> = parts.iter().map(|(token, part)| (*token, part.len, part.first, part.more)).collect();
    assert_eq!(told, [(0, 512, true, 2), (1, 512, false, 1), (2, 1212 - 1024, false, 0)]);
    interface.deliver(&frame(60));
    assert_eq!(interface.take(&mut net), Some(frame(60)));
}

#[test]
fn a_frame_goes_out_behind_an_empty_header() {
    for features in [PLAIN, PLAIN & !INDIRECT] {
        let (mut net, mut interface) = interface(features);
        let sent = frame(300);
        let parts = [Segment::new(interface.memory.buffer(100), 100), Segment::new(interface.memory.buffer(200), 200)];
        interface.memory.write(parts[0].addr, &sent[..100]);
        interface.memory.write(parts[1].addr, &sent[100..]);
        net.tx(5, &parts).unwrap();
        net.kick_tx();
        assert_eq!(interface.device.take_kicks(1), 1);
        let chain = interface.transmit.pop().unwrap();
        assert_eq!(chain.indirect, features & INDIRECT != 0);
        let wire = chain.read(&interface.memory);
        assert_eq!(wire[..12], [0; 12]);
        assert_eq!(wire[12..], sent);
        assert_eq!(net.tx_done(), None);
        interface.transmit.push(chain.head.into(), 0);
        assert_eq!(net.tx_done(), Some(TxDone { token: 5, result: Ok(()) }));
        assert_eq!(net.tx_in_flight(), 0);
    }
}

#[test]
fn bad_frames_are_refused_by_name() {
    let (mut net, interface) = interface(PLAIN);
    let part = |len| Segment::new(interface.memory.buffer(2048), len);
    assert_eq!(net.tx(1, &[]), Err(SendError::Empty));
    assert_eq!(net.tx(1, &[part(10), part(0)]), Err(SendError::EmptySegment));
    assert_eq!(net.tx(1, &[part(1); 8]), Err(SendError::TooManySegments { count: 8, max: 7 }));
    assert_eq!(net.tx(1, &[part(1519)]), Err(SendError::TooLong { bytes: 1519, max: 1518 }));
    for token in 0..8 {
        net.tx(token, &[part(60)]).unwrap();
    }
    assert_eq!(net.tx(8, &[part(60)]), Err(SendError::Full));
    assert_eq!(net.tx_in_flight(), 8);
}

#[test]
fn the_link_goes_down_and_up() {
    let (mut net, interface) = interface(PLAIN);
    interface.device.change_config(6, &[0, 0]);
    assert_eq!(net.acknowledge_interrupt(), NetNotice { queues: false, link_changed: true });
    assert!(!net.link_up());
    interface.device.raise();
    assert_eq!(net.acknowledge_interrupt(), NetNotice { queues: true, link_changed: false });
    interface.device.change_config(6, &[1, 0]);
    assert!(net.config_interrupt().link_changed && net.link_up());
}

#[test]
fn interrupts_come_when_asked_for() {
    let (mut net, mut interface) = interface(PLAIN);
    interface.post(&mut net, 1526);
    interface.post(&mut net, 1526);
    net.disarm_rx();
    interface.deliver(&frame(60));
    assert!(!interface.receive.take_interrupt());
    assert!(net.rearm_rx(), "it came before the interrupt was armed");
    assert!(interface.take(&mut net).is_some());
    assert!(!net.rearm_rx());
    interface.deliver(&frame(60));
    assert!(interface.receive.take_interrupt());

    let part = Segment::new(interface.memory.buffer(60), 60);
    for token in 0..3 {
        net.tx(token, &[part]).unwrap();
    }
    assert!(!net.rearm_tx(3));
    let interrupts: Vec<_> = (0..3)
        .map(|_| {
            let head = interface.transmit.pop().unwrap().head;
            interface.transmit.push(head.into(), 0);
            interface.transmit.take_interrupt()
        })
        .collect();
    assert_eq!(interrupts, [false, false, true]);
    assert!(net.rearm_tx(3));
    net.disarm_tx();
}

proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(64))]

    /// Buffers of any sizes, frames of any sizes: what goes in comes out, buffers are handed back in full.
    #[test]
    fn merged_frames_arrive_whole(
        buffer_bytes in prop::collection::vec(300..2000u32, 1..40),
        frame_bytes in prop::collection::vec(14..1514usize, 1..12),
    ) {
        let (mut net, mut interface) = interface(PLAIN | MRG_RXBUF);
        let mut sizes = buffer_bytes.iter().cycle();
        for bytes in frame_bytes {
            while net.rx_posted() < net.rx_depth() {
                interface.post(&mut net, *sizes.next().unwrap());
            }
            net.kick_rx();
            interface.deliver(&frame(bytes));
            prop_assert_eq!(interface.take(&mut net), Some(frame(bytes)));
            prop_assert_eq!(interface.take(&mut net), None);
        }
    }
}

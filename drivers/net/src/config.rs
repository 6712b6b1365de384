//! What the network interface is: its negotiated features and configuration, made sense of.

use crate::HEADER_BYTES;
use virtio::{InitError, Routed, Session};
use virtio_spec::net::{F, S};

/// Fields of `virtio_net_config` (virtio 1.3 §5.1.4).
mod field {
    pub(super) const MAC: usize = 0;
    pub(super) const STATUS: usize = 6;
    pub(super) const MTU: usize = 10;
}

pub(crate) const MERGEABLE: u64 = bits(F::MRG_RXBUF);
pub(crate) const INDIRECT: u64 = bits(F::INDIRECT_DESC);
pub(crate) const EVENT_INDEX: u64 = bits(F::EVENT_IDX);
/// The features this driver makes use of, if they are offered.
pub(crate) const WANTED: u64 = bits(F::MAC) | bits(F::STATUS) | bits(F::MTU) | MERGEABLE | INDIRECT | EVENT_INDEX;

/// The MTU of a network that names none.
const ETHERNET_MTU: u16 = 1500;
/// The least IPv4 asks of a link; a device that says less is talking nonsense.
const LEAST_MTU: u16 = 68;
/// Two addresses and a type. A VLAN tag is four more.
const ETHERNET_HEADER_BYTES: u32 = 14;
const VLAN_TAG_BYTES: u32 = 4;

const fn bits(feature: F) -> u64 {
    feature.bits().to_ne() as u64
}

/// The interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetInfo {
    /// The address the device was given. Without one the caller makes one up.
    pub mac: Option<[u8; 6]>,
    /// Most bytes of a frame after its Ethernet header.
    pub mtu: u16,
    /// The link can carry frames. May change while the device runs; always true if the device has no link state.
    pub link_up: bool,
}

impl NetInfo {
    pub(crate) fn read<T: Routed>(session: &Session<T>) -> Result<Self, InitError> {
        session.config_snapshot(|session| {
            let mtu = if session.has(bits(F::MTU)) { session.config(field::MTU)? } else { ETHERNET_MTU };
            if mtu < LEAST_MTU {
                return Err(InitError::ConfigInvalid("mtu is less than 68"));
            }
            Ok(Self { mac: read_mac(session)?, mtu, link_up: read_link(session)? })
        })
    }

    /// Reads again what may change. Returns whether it did.
    pub(crate) fn refresh<T: Routed>(&mut self, session: &Session<T>) -> Result<bool, InitError> {
        let link_up = session.config_snapshot(read_link)?;
        Ok(core::mem::replace(&mut self.link_up, link_up) != link_up)
    }

    /// The longest frame, which may have a VLAN tag.
    pub(crate) fn max_frame_bytes(&self) -> u32 {
        u32::from(self.mtu) + ETHERNET_HEADER_BYTES + VLAN_TAG_BYTES
    }

    /// The smallest receive buffer a device that does not merge buffers may be given (§5.1.6.3.1).
    pub(crate) fn whole_frame_bytes(&self) -> u32 {
        HEADER_BYTES + ETHERNET_HEADER_BYTES + u32::from(self.mtu.max(ETHERNET_MTU))
    }
}

fn read_mac<T: Routed>(session: &Session<T>) -> Result<Option<[u8; 6]>, InitError> {
    if !session.has(bits(F::MAC)) {
        return Ok(None);
    }
    // Byte by byte: that is the width the specification gives the field.
    let mut mac = [0; 6];
    for (index, byte) in mac.iter_mut().enumerate() {
        *byte = session.config(field::MAC + index)?;
    }
    Ok(Some(mac))
}

fn read_link<T: Routed>(session: &Session<T>) -> Result<bool, InitError> {
    if !session.has(bits(F::STATUS)) {
        return Ok(true);
    }
    let status: u16 = session.config(field::STATUS)?;
    Ok(status & S::LINK_UP.bits().to_ne() != 0)
}

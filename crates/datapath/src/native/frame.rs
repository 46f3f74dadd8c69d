//! A packet in memory.

use super::arrival::{Arrival, ProxySockets};
use crate::checksum;
use crate::packet::{Bytes, Checksums, Covers, MAX_OFFSET, Mark, PacketRoute};
use crate::to_proxy::{SocketState, SocketTuple, Sockets};
use abi::{Address, DropReason};
use std::collections::HashSet;

/// A packet in memory, with what the kernel keeps beside its bytes.
pub(super) struct Frame {
    pub(super) bytes: Vec<u8>,
    pub(super) mark: u32,
    interface: u32,
    ingress: u32,
    opener: Option<Address>,
    sockets: ProxySockets,
    proxy_port: [u8; 2],
    ports: HashSet<(u8, u16)>,
}

impl Frame {
    pub(super) fn new(
        arrival: Arrival<'_>,
        (sockets, proxy_port): (ProxySockets, [u8; 2]),
        ports: HashSet<(u8, u16)>,
    ) -> Self {
        let Arrival { interface, ingress, opener, mark, frame, now: _ } = arrival;
        Self { bytes: frame.to_vec(), mark, interface, ingress, opener, sockets, proxy_port, ports }
    }

    fn fix(&mut self, offset: u32, difference: u32) -> Result<(), DropReason> {
        let old = u16::from_be_bytes(self.read(offset)?);
        let new = !checksum::fold(u32::from(!old).wrapping_add(difference));
        self.write(offset, new.to_be_bytes())
    }
}

impl PacketRoute for Frame {
    fn interface(&self) -> u32 {
        self.interface
    }

    fn ingress(&self) -> u32 {
        self.ingress
    }

    fn opener(&self) -> Option<Address> {
        self.opener
    }

    fn claim(&mut self) -> Result<(), DropReason> {
        Ok(())
    }
}

impl Mark for Frame {
    fn mark(&self) -> u32 {
        self.mark
    }

    fn set_mark(&mut self, mark: u32) {
        self.mark = mark;
    }
}

impl Bytes for Frame {
    fn length(&self) -> u32 {
        u32::try_from(self.bytes.len()).expect("a frame is far below 4 GiB")
    }

    fn is_tagged(&self) -> bool {
        self.bytes.get(12..14) == Some(&[0x81, 0x00])
    }

    fn read<const N: usize>(&self, offset: u32) -> Result<[u8; N], DropReason> {
        if offset > MAX_OFFSET {
            return Err(DropReason::InvalidPacket);
        }
        let start = offset as usize;
        self.bytes
            .get(start..start + N)
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or(DropReason::InvalidPacket)
    }

    fn copy<const N: usize>(&self, offset: u32) -> Result<[u8; N], DropReason> {
        self.read(offset)
    }

    fn front<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        self.read(offset).ok()
    }

    fn front_words<const N: usize>(&self, offset: u32) -> Option<[u32; N]> {
        let mut words = [0; N];
        for (word, at) in words.iter_mut().zip((offset..).step_by(4)) {
            *word = u32::from_ne_bytes(self.front(at)?);
        }
        Some(words)
    }

    fn overwrite<const N: usize>(&mut self, offset: u32, bytes: [u8; N]) -> Option<()> {
        self.write(offset, bytes).ok()
    }

    fn write<const N: usize>(&mut self, offset: u32, bytes: [u8; N]) -> Result<(), DropReason> {
        let start = offset as usize;
        let place = self.bytes.get_mut(start..start + N).ok_or(DropReason::TranslationFailed)?;
        place.copy_from_slice(&bytes);
        Ok(())
    }

    fn resize(&mut self, length: u32) -> Result<(), DropReason> {
        self.bytes.resize(length as usize, 0);
        Ok(())
    }
}

impl Checksums for Frame {
    fn fix_header_checksum(&mut self, offset: u32, difference: u32) -> Result<(), DropReason> {
        self.fix(offset, difference)
    }

    fn fix_checksum(&mut self, offset: u32, difference: u32, _covers: Covers) -> Result<(), DropReason> {
        self.fix(offset, difference)
    }

    fn fix_optional_checksum(
        &mut self,
        offset: u32,
        difference: u32,
        _covers: Covers,
    ) -> Result<(), DropReason> {
        if self.read(offset)? == [0, 0] {
            return Ok(());
        }
        self.fix(offset, difference)?;
        if self.read(offset)? == [0, 0] {
            // RFC 768: a checksum that comes out as zero is sent as all ones.
            self.write(offset, [0xff, 0xff])?;
        }
        Ok(())
    }
}

impl Sockets for Frame {
    fn state_of(&self, tuple: &SocketTuple) -> Option<SocketState> {
        let ProxySockets { connected, listens } = self.sockets;
        match connected {
            Some(SocketState::Connected | SocketState::TimeWait) if tuple.source_port != [0; 2] => connected,
            _ if listens => Some(SocketState::Listen(self.proxy_port)),
            Some(SocketState::Listen(_)) => connected,
            _ => None,
        }
    }

    fn has_port(&self, protocol: u8, tuple: &SocketTuple) -> bool {
        self.ports.contains(&(protocol, u16::from_be_bytes(tuple.destination_port)))
    }
}

//! The first two messages of an SCTP handshake (RFC 9260): INIT and INIT ACK.

/// The tag that both ends choose: the messages carry no association that could be confused with another one.
const TAG: u32 = 0x6e65_7869;
/// The length of the common header.
const HEADER: usize = 12;

/// A message of one chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) from: u16,
    pub(super) to: u16,
    kind: Kind,
}

/// The kinds of chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Init = 1,
    InitAck = 2,
}

impl Message {
    /// The message that begins a handshake.
    pub(super) fn first(from: u16, to: u16) -> Self {
        Self { from, to, kind: Kind::Init }
    }

    pub(super) fn is_first(self) -> bool {
        self.kind == Kind::Init
    }

    /// The answer to the first message.
    pub(super) fn answer(self) -> Self {
        Self { from: self.to, to: self.from, kind: Kind::InitAck }
    }

    /// Reads a message; none of another kind, and none whose checksum is wrong.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let port = |at: usize| Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
        let kind = match *bytes.get(HEADER)? {
            1 => Kind::Init,
            2 => Kind::InitAck,
            _ => return None,
        };
        let message = Self { from: port(0)?, to: port(2)?, kind };
        (message.bytes() == bytes).then_some(message)
    }

    /// The message as it is sent.
    pub(super) fn bytes(self) -> Vec<u8> {
        // The first message is sent before the other end's tag is known.
        let tag = if self.is_first() { 0 } else { TAG };
        // A state cookie of four bytes, which the first message lacks.
        let cookie: &[u8] = if self.is_first() { &[] } else { &[0, 7, 0, 8, 1, 2, 3, 4] };
        let length = u16::try_from(20 + cookie.len()).expect("a cookie is short");
        let mut bytes = [&self.from.to_be_bytes()[..], &self.to.to_be_bytes(), &tag.to_be_bytes()].concat();
        bytes.extend([0; 4]);
        bytes.extend([self.kind as u8, 0]);
        bytes.extend(length.to_be_bytes());
        bytes.extend(TAG.to_be_bytes());
        // The window, one stream in each direction, and the first sequence number.
        bytes.extend(65_536_u32.to_be_bytes());
        bytes.extend([0, 1, 0, 1]);
        bytes.extend(1_u32.to_be_bytes());
        bytes.extend(cookie);
        let checksum = checksum(&bytes).to_le_bytes();
        bytes[8..HEADER].copy_from_slice(&checksum);
        bytes
    }
}

/// CRC-32C.
fn checksum(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let step = |rest: u32| if rest & 1 == 1 { rest >> 1 ^ POLYNOMIAL } else { rest >> 1 };
    !bytes.iter().fold(u32::MAX, |rest, byte| (0..8).fold(rest ^ u32::from(*byte), |rest, _| step(rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_standard() {
        assert_eq!(checksum(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn messages_are_read_as_they_are_written() {
        let first = Message::first(61_000, 80);
        for message in [first, first.answer()] {
            assert_eq!(Message::parse(&message.bytes()), Some(message));
        }
        assert_eq!((first.bytes().len(), first.answer().bytes().len()), (32, 40));
        assert_eq!(first.answer(), Message { from: 80, to: 61_000, kind: Kind::InitAck });
    }

    #[test]
    fn what_was_changed_on_its_way_is_no_message() {
        let mut bytes = Message::first(61_000, 80).bytes();
        bytes[0] ^= 1;
        assert_eq!(Message::parse(&bytes), None);
        assert_eq!(Message::parse(&bytes[..8]), None);
    }
}

//! The flags of a TCP segment, and their names.

use serde::de::{Deserialize, Deserializer, Error};
use serde::ser::{Serialize, SerializeMap, Serializer};
use std::collections::BTreeMap;
use std::fmt;

/// Names by bit, in the order in which they are printed.
const NAMES: [(u8, &str); 8] = [
    (0x02, "SYN"),
    (0x10, "ACK"),
    (0x01, "FIN"),
    (0x04, "RST"),
    (0x08, "PSH"),
    (0x20, "URG"),
    (0x40, "ECE"),
    (0x80, "CWR"),
];

/// Flags as on the wire. As JSON an object: `{"SYN": true}`; as text `SYN, ACK`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// Whether the segment opens a connection: SYN without ACK.
    pub(crate) fn opens(self) -> bool {
        self.0 & 0x12 == 0x02
    }

    fn set(self) -> impl Iterator<Item = &'static str> {
        NAMES.into_iter().filter(move |(bit, _)| self.0 & bit != 0).map(|(_, name)| name)
    }
}

impl fmt::Display for TcpFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.set().collect::<Vec<_>>().join(", "))
    }
}

impl Serialize for TcpFlags {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for name in self.set() {
            map.serialize_entry(name, &true)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for TcpFlags {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut flags = 0;
        for (name, set) in BTreeMap::<String, bool>::deserialize(deserializer)? {
            let named = NAMES.iter().find(|(_, known)| *known == name);
            let (bit, _) = named.ok_or_else(|| D::Error::custom(format!("`{name}` is not a TCP flag")))?;
            flags |= if set { *bit } else { 0 };
        }
        Ok(Self(flags))
    }
}

//! Entries of the maps that `control` writes, as values: `control` computes them, `loader` writes them to the kernel, and the
//! native engine keeps them in memory. The variants come from the list of maps ([`crate::map`]).

use crate::map::{self, Map, MapId};
use crate::with_maps;
use zerocopy::{FromBytes, IntoBytes};

/// One write to one map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MapOp {
    /// Inserts the row or replaces the one with its key, atomically for readers.
    Put(Row),
    /// Removes the row; that there is none is not an error.
    Delete(RowKey),
}

impl MapOp {
    /// The row that the write puts; none where it removes one.
    pub fn put(self) -> Option<Row> {
        match self {
            Self::Put(row) => Some(row),
            Self::Delete(_) => None,
        }
    }
}

macro_rules! define {
    ($($(#[$doc:meta])* $map:ident = $name:ident: $kind:ident<$key:ty, $value:ty>,
       capacity $capacity:expr, in tests $small:expr, written by $writer:ident
       $(, row $row:ident)? $(, value $single:ident)?;)*) => {
        /// An entry of a map that `control` writes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Row {
            $(
                $(
                    #[doc = concat!("An entry of [`map::", stringify!($map), "`].")]
                    $row(<map::$map as Map>::Key, <map::$map as Map>::Value),
                )?
                $(
                    #[doc = concat!("The only entry of [`map::", stringify!($map), "`].")]
                    $single(<map::$map as Map>::Value),
                )?
            )*
        }

        /// The key of a row that can be removed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum RowKey {
            $($(
                #[doc = concat!("A key of [`map::", stringify!($map), "`].")]
                $row(<map::$map as Map>::Key),
            )?)*
        }

        impl Row {
            /// The row's key; none for the only entry of a map, which is never removed.
            pub fn key(&self) -> Option<RowKey> {
                Some(match *self {
                    $(
                        $(Self::$row(key, _) => RowKey::$row(key),)?
                        $(Self::$single(_) => return None,)?
                    )*
                })
            }

            /// The row as the kernel takes it: the map, and the bytes of key and value.
            #[inline(always)]
            pub fn encode<T>(&self, write: impl FnOnce(MapId, &[u8], &[u8]) -> T) -> T {
                match self {
                    $(
                        $(Self::$row(key, value) => write(MapId::$map, key.as_bytes(), value.as_bytes()),)?
                        $(Self::$single(value) => write(MapId::$map, 0_u32.as_bytes(), value.as_bytes()),)?
                    )*
                }
            }

            /// The row with these bytes as key and value; none where `control` does not write the map, or a size is wrong.
            #[inline(always)]
            pub fn decode(map: MapId, key: &[u8], value: &[u8]) -> Option<Self> {
                match map {
                    $(
                        $(MapId::$map => Some(Self::$row(read(key)?, read(value)?)),)?
                        $(MapId::$map => Some(Self::$single(read(value)?)),)?
                    )*
                    _ => None,
                }
            }
        }

        impl RowKey {
            /// The key as the kernel takes it: the map, and the key's bytes.
            #[inline(always)]
            pub fn encode<T>(&self, write: impl FnOnce(MapId, &[u8]) -> T) -> T {
                match self {
                    $($(Self::$row(key) => write(MapId::$map, key.as_bytes()),)?)*
                }
            }

            /// The key with these bytes; none where no row of the map can be removed, or the size is wrong.
            #[inline(always)]
            pub fn decode(map: MapId, key: &[u8]) -> Option<Self> {
                match map {
                    $($(MapId::$map => Some(Self::$row(read(key)?)),)?)*
                    _ => None,
                }
            }
        }
    };
}

with_maps!(define);

fn read<T: FromBytes>(bytes: &[u8]) -> Option<T> {
    T::read_from_bytes(bytes).ok()
}

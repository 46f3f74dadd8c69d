//! The content of the object file, read without the kernel: the same on every machine.

use abi::Hook;
use abi::hook;
use abi::map::{Kind, MapId};
use std::borrow::Cow;

/// The programs and maps of an object file, which were compared with the hooks and maps of `abi`.
#[derive(Clone, Debug)]
pub struct ObjectSpec {
    pub(crate) object: Cow<'static, [u8]>,
    maps: Vec<MapSpec>,
    programs: Vec<ProgramSpec>,
}

/// A map as the object file declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapSpec {
    /// Name.
    pub name: String,
    /// Number of the kind, from `enum bpf_map_type`.
    pub kind: u32,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// How many entries fit; of the event ring, how many bytes.
    pub capacity: u32,
    /// The flags with which the map is created (`BPF_F_*`).
    pub flags: u32,
}

/// A program as the object file holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramSpec {
    /// The hook that the program is for.
    pub hook: Hook,
    /// Instructions of its entry function.
    pub instructions: usize,
}

/// Why this crate cannot load bytes as an object file.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// The bytes are no ELF file for BPF.
    #[error("not a BPF object file: {0}")]
    Object(#[from] aya_obj::ParseError),
    /// A map of `abi` is not declared.
    #[error("the object file declares no map {0}; programs and loader were built from different sources")]
    MapMissing(MapId),
    /// A map is declared otherwise than in `abi`.
    #[error(
        "map {map} is declared with {what} {found}, and abi has {expected}; programs and loader were built from different sources"
    )]
    MapShape {
        /// The map.
        map: MapId,
        /// What differs.
        what: &'static str,
        /// As declared.
        found: u32,
        /// As in `abi`.
        expected: u32,
    },
    /// There is no program for a hook.
    #[error("the object file holds no program {0} of its kind")]
    ProgramMissing(Hook),
}

impl ObjectSpec {
    /// The programs that were compiled with this crate.
    pub fn embedded() -> Result<Self, SpecError> {
        Self::parse(crate::PROGRAMS)
    }

    /// Reads an object file.
    pub fn parse(object: impl Into<Cow<'static, [u8]>>) -> Result<Self, SpecError> {
        let object = object.into();
        let parsed = aya_obj::Object::parse(&object)?;
        let mut maps: Vec<_> = parsed.maps.iter().map(|(name, map)| MapSpec::of(name, map)).collect();
        maps.sort_by(|left, right| left.name.cmp(&right.name));
        for &id in MapId::ALL {
            maps.iter().find(|map| map.name == id.name()).ok_or(SpecError::MapMissing(id))?.check(id)?;
        }
        let program = |hook| program(&parsed, hook).ok_or(SpecError::ProgramMissing(hook));
        let programs = Hook::ALL.iter().copied().map(program).collect::<Result<_, _>>()?;
        Ok(Self { object, maps, programs })
    }

    /// The declared maps, by name.
    pub fn maps(&self) -> &[MapSpec] {
        &self.maps
    }

    /// The programs, by hook.
    pub fn programs(&self) -> &[ProgramSpec] {
        &self.programs
    }
}

impl MapSpec {
    fn of(name: &str, map: &aya_obj::Map) -> Self {
        Self {
            name: name.to_owned(),
            kind: map.map_type(),
            key_size: map.key_size(),
            value_size: map.value_size(),
            capacity: map.max_entries(),
            flags: map.map_flags(),
        }
    }

    /// Compares the declaration with the list of maps.
    fn check(&self, map: MapId) -> Result<(), SpecError> {
        let sides = [
            ("kind", self.kind, map.kind() as u32),
            ("flags", self.flags, map.kind().flags()),
            ("key size", self.key_size, map.key_size() as u32),
            ("value size", self.value_size, map.value_size() as u32),
        ];
        for (what, found, expected) in sides {
            // The kernel ignores the sizes that a ring buffer declares.
            if found != expected && !(what.ends_with("size") && map.kind() == Kind::RingBuffer) {
                return Err(SpecError::MapShape { map, what, found, expected });
            }
        }
        Ok(())
    }
}

/// The name of a kind of maps by its number, as `bpftool` prints it.
pub(crate) fn kind_name(number: u32) -> &'static str {
    Kind::from_number(number).map_or("other", Kind::name)
}

fn program(object: &aya_obj::Object, hook: Hook) -> Option<ProgramSpec> {
    let program = object.programs.get(hook.name())?;
    let fits = match hook.point().kind() {
        hook::Kind::Classifier => matches!(program.section, aya_obj::ProgramSection::SchedClassifier),
        hook::Kind::SocketLookup => matches!(program.section, aya_obj::ProgramSection::SkLookup),
        hook::Kind::SocketAddress => {
            matches!(program.section, aya_obj::ProgramSection::CgroupSockAddr { .. })
        }
    };
    let function = object.functions.get(&program.function_key())?;
    fits.then_some(ProgramSpec { hook, instructions: function.instructions.len() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_object_has_every_map_and_program_of_abi() {
        let spec = ObjectSpec::embedded().unwrap();
        assert_eq!(spec.programs().len(), Hook::ALL.len());
        assert!(spec.programs().iter().all(|program| program.instructions > 1), "{:?}", spec.programs());
    }

    #[test]
    fn what_is_no_object_file_is_refused() {
        let error = ObjectSpec::parse(&b"#!/bin/sh\n"[..]).unwrap_err();
        assert!(matches!(error, SpecError::Object(_)), "{error}");
    }
}

//! The kernel's type information (BTF): offsets of the fields of structures.

/// The types of the kernel, or of a module, whose types continue those of the kernel.
pub(crate) struct TypeInformation<'a> {
    kernel: Option<&'a TypeInformation<'a>>,
    types: &'a [u8],
    /// Where each type begins in `types`.
    starts: Vec<u32>,
    strings: &'a [u8],
}

/// A type, as far as it is read.
struct Type<'a> {
    name: u32,
    kind: u32,
    /// Whether the offsets of members also hold sizes of bit fields.
    has_bit_fields: bool,
    members: &'a [u8],
}

const MAGIC: u32 = 0xeb9f;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
/// Bytes of a type before its members, and of a member.
const TYPE: usize = 12;
const MEMBER: usize = 12;
/// Anonymous structures are searched this deep.
const DEPTH: usize = 8;

impl<'a> TypeInformation<'a> {
    /// Parses type information; nothing if it is not valid. That of a module needs the kernel's.
    pub(crate) fn parse(bytes: &'a [u8], kernel: Option<&'a TypeInformation<'a>>) -> Option<Self> {
        let header = |at| word(bytes, at);
        if header(0)? & 0xffff != MAGIC {
            return None;
        }
        let length = header(4)?;
        let part = |offset: u32, size: u32| {
            let start = length.checked_add(offset)? as usize;
            bytes.get(start..start.checked_add(size as usize)?)
        };
        let (types, strings) = (part(header(8)?, header(12)?)?, part(header(16)?, header(20)?)?);
        let mut starts = Vec::new();
        let mut at = 0;
        while at < types.len() {
            starts.push(u32::try_from(at).ok()?);
            at += TYPE + trailing(word(types, at + 4)?)?;
        }
        Some(Self { kernel, types, starts, strings })
    }

    /// The offset in bytes of a field of a structure; none where there is no such structure or field.
    pub(crate) fn offset(&self, structure: &str, field: &str) -> Option<u32> {
        let types = self.starts.iter().filter_map(|&start| self.type_at(start));
        let mut named =
            types.filter(|one| one.kind == STRUCT && self.string(one.name) == Some(structure.as_bytes()));
        named.find_map(|one| self.bits(&one, field.as_bytes(), DEPTH)).map(|bits| bits / 8)
    }

    /// The offset in bits of a field, also of one in anonymous members.
    fn bits(&self, of: &Type<'a>, field: &[u8], depth: usize) -> Option<u32> {
        if depth == 0 || !matches!(of.kind, STRUCT | UNION) {
            return None;
        }
        of.members.chunks_exact(MEMBER).find_map(|member| {
            let (name, number, place) = (word(member, 0)?, word(member, 4)?, word(member, 8)?);
            let bits = if of.has_bit_fields { place & 0x00ff_ffff } else { place };
            if name != 0 {
                return (self.string(name) == Some(field)).then_some(bits);
            }
            Some(bits + self.bits(&self.numbered(number)?, field, depth - 1)?)
        })
    }

    fn type_at(&self, start: u32) -> Option<Type<'a>> {
        let at = start as usize;
        let information = word(self.types, at + 4)?;
        let kind = kind(information);
        let members = if matches!(kind, STRUCT | UNION) { trailing(information)? } else { 0 };
        let start = at + TYPE;
        let members = self.types.get(start..start + members)?;
        Some(Type { name: word(self.types, at)?, kind, has_bit_fields: information >> 31 != 0, members })
    }

    /// The type with a number; numbers begin with 1, and those of a module after the kernel's last.
    fn numbered(&self, number: u32) -> Option<Type<'a>> {
        let before = self.kernel.map_or(0, |kernel| kernel.starts.len());
        match (number as usize).checked_sub(before + 1) {
            Some(index) => self.type_at(*self.starts.get(index)?),
            None => self.kernel?.numbered(number),
        }
    }

    /// The string at an offset; those of a module follow the kernel's.
    fn string(&self, offset: u32) -> Option<&'a [u8]> {
        let before = self.kernel.map_or(0, |kernel| kernel.strings.len());
        let Some(at) = (offset as usize).checked_sub(before) else { return self.kernel?.string(offset) };
        let rest = self.strings.get(at..)?;
        rest.split(|&byte| byte == 0).next()
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

fn kind(information: u32) -> u32 {
    information >> 24 & 0x1f
}

/// How many bytes follow a type; none for a kind that is not known, after which nothing can be read.
fn trailing(information: u32) -> Option<usize> {
    let count = (information & 0xffff) as usize;
    Some(match kind(information) {
        // Pointers, declarations, modifiers, functions, floats and tags of types have nothing.
        2 | 7..=12 | 16 | 18 => 0,
        // Integers, variables and tags of declarations.
        1 | 14 | 17 => 4,
        3 => 12,
        // Enumerations, parameters of functions.
        6 | 13 => 8 * count,
        // Structures, unions, sections, enumerations of 64 bits.
        STRUCT | UNION | 15 | 19 => 12 * count,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Type information with these types, each its words, and strings.
    fn information(types: &[&[u32]], strings: &[u8]) -> Vec<u8> {
        let types: Vec<u8> = types.concat().iter().flat_map(|word| word.to_le_bytes()).collect();
        let (types_length, strings_length) = (types.len() as u32, strings.len() as u32);
        let header = [MAGIC | 1 << 16, 24, 0, types_length, types_length, strings_length];
        let header = header.iter().flat_map(|word| word.to_le_bytes());
        header.chain(types).chain(strings.iter().copied()).collect()
    }

    #[test]
    fn fields_are_found_in_anonymous_members_and_in_modules() {
        let outer = STRUCT << 24 | 2;
        // 1: int. 2: union { int inner; }. 3: struct outer { int first; union 2; }.
        let kernel = information(
            &[&[0, 1 << 24, 4, 32], &[0, UNION << 24 | 1, 4, 1, 1, 0], &[7, outer, 8, 13, 1, 0, 0, 2, 32]],
            b"\0inner\0outer\0first\0",
        );
        let kernel = TypeInformation::parse(&kernel, None).unwrap();
        assert_eq!(kernel.offset("outer", "first"), Some(0));
        assert_eq!(kernel.offset("outer", "inner"), Some(4));
        assert_eq!(kernel.offset("outer", "other"), None);
        // 4: struct module { struct 2 as an anonymous member, at bit 64, with bit fields beside it }.
        let strings = u32::try_from(kernel.strings.len()).unwrap();
        let module =
            information(&[&[strings, 1 << 31 | STRUCT << 24 | 1, 12, 0, 2, 8 << 24 | 64]], b"module\0");
        let module = TypeInformation::parse(&module, Some(&kernel)).unwrap();
        assert_eq!(module.offset("module", "inner"), Some(8));
        assert_eq!(module.offset("outer", "inner"), None, "the kernel's own structures are the kernel's");
    }

    #[test]
    fn what_is_cut_off_or_unknown_is_refused() {
        let whole = information(&[&[0, STRUCT << 24 | 1, 4, 1, 1, 0]], b"\0a\0");
        assert!(TypeInformation::parse(&whole, None).is_some());
        for end in 0..whole.len() {
            assert!(TypeInformation::parse(&whole[..end], None).is_none(), "{end}");
        }
        assert!(TypeInformation::parse(&information(&[&[0, 31 << 24, 0]], b"\0"), None).is_none());
    }
}

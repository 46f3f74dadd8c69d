//! The bytes of an entry log: a header, records, and zeros in which the next records find room.
//!
//! A record contains the entries of one change and a checksum, so that a change is read completely or not at all. The
//! header says up to where records are committed: a record that is damaged there was in use, and must be reported. A
//! record behind that was being written when the writer stopped; unless it is complete, it never happened.
//!
//! Numbers are little-endian. Header: 12 bytes of [`MAGIC`], the end of the committed records, the size that the file
//! must at least have, and a checksum of these. Record: length and checksum of its entries. Entry: kind, length of the
//! key, length of the text, key, text.

use std::collections::BTreeMap;
use std::ops::Range;

/// The first bytes of a log.
const MAGIC: &[u8; 12] = b"nexin log 1\n";
/// Size of the header.
pub(super) const HEADER: usize = 32;
/// Size of a record before its entries.
const RECORD: usize = 8;
/// Size of an entry before its key.
const ENTRY: usize = 9;
/// Kinds of entries.
const PUT: u8 = b'+';
const REMOVE: u8 = b'-';

/// One entry of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogEntry<'a> {
    /// The key has this text from now on.
    Put(&'a str, &'a str),
    /// The key has no text from now on.
    Remove(&'a str),
}

/// The position of a key's text in the file.
pub(super) type TextRange = Range<usize>;

/// What a log contains.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LogContents {
    /// The positions of the texts, by key.
    pub(super) texts: BTreeMap<String, TextRange>,
    /// The end of the last complete record.
    pub(super) tail: usize,
    /// Whether an incomplete record follows.
    pub(super) is_torn: bool,
}

impl LogEntry<'_> {
    /// The key.
    pub(super) fn key(&self) -> &str {
        match self {
            Self::Put(key, _) | Self::Remove(key) => key,
        }
    }

    /// The number of bytes in a record.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Put(key, text) => put_size(key.len(), text.len()),
            Self::Remove(key) => ENTRY + key.len(),
        }
    }
}

/// The number of bytes of an entry with a text.
pub(super) fn put_size(key: usize, text: usize) -> usize {
    ENTRY + key + text
}

/// The header of a log.
pub(super) fn header(end: usize, size: usize) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    bytes[..12].copy_from_slice(MAGIC);
    bytes[12..20].copy_from_slice(&(end as u64).to_le_bytes());
    bytes[20..28].copy_from_slice(&(size as u64).to_le_bytes());
    let sum = checksum(&bytes[..28]);
    bytes[28..].copy_from_slice(&sum.to_le_bytes());
    bytes
}

/// The record of a change; none if it is too long for a record.
pub(super) fn record(entries: &[LogEntry<'_>]) -> Option<Vec<u8>> {
    let size = entries.iter().map(LogEntry::size).sum::<usize>();
    let mut bytes = Vec::with_capacity(RECORD + size);
    bytes.extend(u32::try_from(size).ok()?.to_le_bytes());
    bytes.extend([0; 4]);
    for entry in entries {
        let (kind, key, text) = match entry {
            LogEntry::Put(key, text) => (PUT, key, *text),
            LogEntry::Remove(key) => (REMOVE, key, ""),
        };
        bytes.push(kind);
        bytes.extend(u32::try_from(key.len()).ok()?.to_le_bytes());
        bytes.extend(u32::try_from(text.len()).ok()?.to_le_bytes());
        bytes.extend(key.as_bytes());
        bytes.extend(text.as_bytes());
    }
    let sum = checksum(&bytes[RECORD..]);
    bytes[4..RECORD].copy_from_slice(&sum.to_le_bytes());
    Some(bytes)
}

/// The position of each entry's text in a record that starts here.
pub(super) fn texts(entries: &[LogEntry<'_>], start: usize) -> Vec<TextRange> {
    let mut position = start + RECORD;
    let range = |entry: &LogEntry<'_>| {
        let text = position + ENTRY + entry.key().len();
        position += entry.size();
        text..position
    };
    entries.iter().map(range).collect()
}

/// Reads a log; the error says what is damaged.
pub(super) fn read(bytes: &[u8]) -> Result<LogContents, String> {
    let end = committed(bytes)?;
    let mut contents = LogContents { texts: BTreeMap::new(), tail: HEADER, is_torn: false };
    loop {
        let start = contents.tail;
        match read_record(bytes, start) {
            Some(entries) => {
                contents.tail = entries.end;
                read_entries(bytes, entries, &mut contents.texts)
                    .ok_or_else(|| format!("the record at byte {start} contains no entries"))?;
            }
            None if start < end => return Err(format!("the record at byte {start} is damaged")),
            None => break,
        }
    }
    contents.is_torn = bytes[contents.tail..].iter().any(|byte| *byte != 0);
    Ok(contents)
}

/// The end of the committed records.
fn committed(bytes: &[u8]) -> Result<usize, String> {
    let header = bytes.get(..HEADER).ok_or("its header is incomplete")?;
    let number = |range: Range<usize>| header[range].try_into().map(u64::from_le_bytes).unwrap_or_default();
    if header[..12] != *MAGIC || header[28..] != checksum(&header[..28]).to_le_bytes() {
        return Err("its header is damaged".into());
    }
    let (end, size) = (number(12..20), number(20..28));
    if (bytes.len() as u64) < size.max(end) {
        return Err(format!("it has {} bytes instead of {}", bytes.len(), size.max(end)));
    }
    usize::try_from(end).map_err(|error| error.to_string())
}

/// The entries of the record that starts here; none if it is no complete record.
fn read_record(bytes: &[u8], start: usize) -> Option<Range<usize>> {
    let entries = start + RECORD;
    // The zeros behind the last record are no record.
    let length = usize::try_from(number(bytes, start)?).ok().filter(|length| *length > 0)?;
    let sum = number(bytes, start + 4)?;
    let content = bytes.get(entries..entries.checked_add(length)?)?;
    (checksum(content) == sum).then_some(entries..entries + length)
}

fn read_entries(bytes: &[u8], entries: Range<usize>, texts: &mut BTreeMap<String, TextRange>) -> Option<()> {
    let mut at = entries.start;
    while at < entries.end {
        let key_length = usize::try_from(number(bytes, at + 1)?).ok()?;
        let text_length = usize::try_from(number(bytes, at + 5)?).ok()?;
        let text = at + ENTRY + key_length;
        let next = text + text_length;
        let key = std::str::from_utf8(bytes.get(at + ENTRY..text)?).ok()?;
        match bytes[at] {
            PUT => drop(texts.insert(key.to_owned(), text..next)),
            REMOVE => drop(texts.remove(key)),
            _ => return None,
        }
        std::str::from_utf8(bytes.get(text..next)?).ok()?;
        at = next;
    }
    (at == entries.end).then_some(())
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// CRC-32 as of IEEE 802.3.
fn checksum(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log of two committed records and one behind them.
    fn log() -> (Vec<u8>, [usize; 3]) {
        let records = [
            record(&[LogEntry::Put("a", "one"), LogEntry::Put("b", "two")]).unwrap(),
            record(&[LogEntry::Remove("a"), LogEntry::Put("c", "three")]).unwrap(),
            record(&[LogEntry::Put("b", "four")]).unwrap(),
        ];
        let mut bytes = vec![0; HEADER];
        let ends = records.map(|record| {
            bytes.extend(record);
            bytes.len()
        });
        bytes.extend([0; 20]);
        let header = header(ends[1], ends[2]);
        bytes[..HEADER].copy_from_slice(&header);
        (bytes, ends)
    }

    fn said(bytes: &[u8]) -> Result<Vec<String>, String> {
        let LogContents { texts, .. } = read(bytes)?;
        let text = |range: TextRange| std::str::from_utf8(&bytes[range]).unwrap().to_owned();
        Ok(texts.into_iter().map(|(key, range)| format!("{key}={}", text(range))).collect())
    }

    #[test]
    fn the_checksum_is_that_of_the_standard() {
        assert_eq!(checksum(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn a_log_that_is_cut_anywhere_in_its_last_record_has_the_records_before() {
        let (bytes, [_, committed, end]) = log();
        assert_eq!(said(&bytes).unwrap(), ["b=four", "c=three"]);
        for cut in committed..end {
            let mut torn = bytes.clone();
            torn[cut..].fill(0);
            let found = read(&torn).unwrap();
            assert_eq!(
                (found.tail, said(&torn).unwrap()),
                (committed, vec!["b=two".into(), "c=three".into()]),
                "{cut}"
            );
            assert!(found.is_torn || torn[committed..cut].iter().all(|byte| *byte == 0));
        }
        // A file that ends there was longer once.
        for cut in 0..end {
            assert!(said(&bytes[..cut]).is_err(), "{cut}");
        }
        assert_eq!(said(&bytes[..end]).unwrap(), ["b=four", "c=three"]);
    }

    #[test]
    fn a_flipped_bit_is_found_in_the_committed_records_and_drops_a_later_one() {
        let (bytes, [_, committed, end]) = log();
        for position in 0..end * 8 {
            let mut flipped = bytes.clone();
            flipped[position / 8] ^= 1 << (position % 8);
            match said(&flipped) {
                Err(why) => assert!(position / 8 < committed, "{position}: {why}"),
                Ok(found) => {
                    assert!(position / 8 >= committed, "{position}");
                    assert_eq!(found, ["b=two", "c=three"], "{position}");
                }
            }
        }
    }
}

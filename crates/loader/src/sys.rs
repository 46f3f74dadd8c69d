//! System calls of bpf(2) that `aya` does not offer: batches of rows, links by interface index, a bare program.
#![expect(
    unsafe_code,
    reason = "bpf(2) takes addresses of buffers; every command here checks their lengths first"
)]

use abi::hook::Point;
use abi::map::Kind;
use aya::maps::MapData;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Numbers of the commands that are used, from `enum bpf_cmd`.
mod command {
    pub(super) const MAP_LOOKUP: i32 = 1;
    pub(super) const MAP_UPDATE: i32 = 2;
    pub(super) const MAP_DELETE: i32 = 3;
    pub(super) const PROGRAM_LOAD: i32 = 5;
    pub(super) const OBJECT_PIN: i32 = 6;
    pub(super) const OBJECT_OPEN: i32 = 7;
    pub(super) const PROGRAM_TEST_RUN: i32 = 10;
    pub(super) const PROGRAM_QUERY: i32 = 16;
    pub(super) const MAP_LOOKUP_BATCH: i32 = 24;
    pub(super) const MAP_UPDATE_BATCH: i32 = 26;
    pub(super) const MAP_DELETE_BATCH: i32 = 27;
    pub(super) const LINK_CREATE: i32 = 28;
    pub(super) const LINK_UPDATE: i32 = 29;
    pub(super) const LINK_DETACH: i32 = 34;
}

/// The attach point of a program at an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub(crate) enum TcxPoint {
    /// Packets that the interface receives.
    Ingress = Point::Ingress.attach_type(),
    /// Packets that the interface sends.
    Egress = Point::Egress.attach_type(),
}

/// A program that [`query`] found, and its link, by their numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Queried {
    pub(crate) program: u32,
    pub(crate) link: u32,
}

/// A map with the sizes that the kernel reads and writes for each row.
#[derive(Debug)]
pub(crate) struct Table {
    descriptor: OwnedFd,
    key_size: usize,
    value_size: usize,
}

/// Rows of a [`Table`], one after the other.
#[derive(Debug)]
pub(crate) struct Rows {
    keys: Vec<u8>,
    values: Vec<u8>,
    sizes: (usize, usize),
}

impl Rows {
    /// Key and value of each row.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let (key, value) = self.sizes;
        self.keys.chunks_exact(key).zip(self.values.chunks_exact(value))
    }
}

/// A batch that stopped: how many rows were processed, and why it stopped.
#[derive(Debug)]
pub(crate) struct Stopped {
    pub(crate) done: usize,
    pub(crate) error: io::Error,
}

#[repr(C)]
#[derive(Default)]
struct MapAttribute {
    map: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
#[derive(Default)]
struct BatchAttribute {
    from: u64,
    to: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: u32,
    row_flags: u64,
    flags: u64,
}

#[repr(C)]
#[derive(Default)]
struct ObjectAttribute {
    path: u64,
    descriptor: u32,
    flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct LinkAttribute {
    /// The program; of an update and a detachment, the link.
    first: u32,
    /// The interface or namespace; of an update, the program.
    second: u32,
    point: u32,
    flags: u32,
    relative: u32,
    padding: u32,
    revision: u64,
}

#[repr(C)]
#[derive(Default)]
struct ProgramAttribute {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
}

#[repr(C)]
#[derive(Default)]
struct TestRunAttribute {
    program: u32,
    action: u32,
    frame_size: u32,
    result_size: u32,
    frame: u64,
    result: u64,
    repeat: u32,
    nanoseconds: u32,
}

#[repr(C)]
#[derive(Default)]
struct QueryAttribute {
    /// The interface, or a descriptor of the namespace.
    target: u32,
    point: u32,
    query_flags: u32,
    attach_flags: u32,
    programs: u64,
    count: u32,
    padding: u32,
    program_flags: u64,
    links: u64,
    link_flags: u64,
    revision: u64,
}

impl TcxPoint {
    /// The attach point at an interface; none for a point elsewhere.
    pub(crate) const fn of(point: Point) -> Option<Self> {
        match point {
            Point::Ingress => Some(Self::Ingress),
            Point::Egress => Some(Self::Egress),
            _ => None,
        }
    }
}

impl Table {
    /// Takes a map's descriptor, and reads the map's sizes. An entry of a per-CPU array is read and written with a value for
    /// each CPU, each rounded up to eight bytes.
    pub(crate) fn open(descriptor: OwnedFd, kind: Kind) -> io::Result<Self> {
        let data = MapData::from_fd(descriptor).map_err(io::Error::other)?;
        let info = data.info().map_err(io::Error::other)?;
        let (key_size, mut value_size) = (info.key_size() as usize, info.value_size() as usize);
        if kind == Kind::PerCpuArray {
            let cpus = aya::util::nr_cpus().map_err(|(_, error)| error)?;
            value_size = value_size.next_multiple_of(8) * cpus;
        }
        let descriptor = data.fd().as_fd().try_clone_to_owned()?;
        Ok(Self { descriptor, key_size, value_size })
    }

    /// How many bytes the kernel reads and writes as an entry's value.
    pub(crate) fn value_size(&self) -> usize {
        self.value_size
    }

    /// Copies the entry's value; false where there is no such entry, and then `value` stays as it was.
    pub(crate) fn lookup(&self, key: &[u8], value: &mut [u8]) -> io::Result<bool> {
        assert_eq!((key.len(), value.len()), (self.key_size, self.value_size), "an entry of this map");
        let mut attribute = self.row(key);
        attribute.value = value.as_mut_ptr() as u64;
        // SAFETY: `key` and `value` are as long as the kernel's sizes of this map.
        match unsafe { bpf(command::MAP_LOOKUP, &mut attribute) } {
            Ok(_) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Inserts or replaces a row.
    pub(crate) fn update(&self, key: &[u8], value: &[u8]) -> io::Result<()> {
        assert_eq!((key.len(), value.len()), (self.key_size, self.value_size), "a row of this map");
        let mut attribute = self.row(key);
        attribute.value = value.as_ptr() as u64;
        // SAFETY: `key` and `value` are as long as the kernel's sizes of this map.
        unsafe { bpf(command::MAP_UPDATE, &mut attribute) }.map(drop)
    }

    /// Removes the row; false where there was none.
    pub(crate) fn delete(&self, key: &[u8]) -> io::Result<bool> {
        assert_eq!(key.len(), self.key_size, "a key of this map");
        // SAFETY: `key` is as long as the kernel's key size of this map.
        match unsafe { bpf(command::MAP_DELETE, &mut self.row(key)) } {
            Ok(_) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Inserts or replaces rows in order.
    pub(crate) fn update_batch(&self, keys: &[u8], values: &[u8]) -> Result<(), Stopped> {
        let count = self.count(keys);
        assert_eq!(values.len(), count * self.value_size, "a value for each key");
        let mut attribute = self.batch(keys, count);
        attribute.values = values.as_ptr() as u64;
        // SAFETY: both buffers hold `count` rows of this map.
        unsafe { run_batch(command::MAP_UPDATE_BATCH, &mut attribute) }
    }

    /// Removes rows in order; stops at the first key without a row.
    pub(crate) fn delete_batch(&self, keys: &[u8]) -> Result<(), Stopped> {
        let mut attribute = self.batch(keys, self.count(keys));
        // SAFETY: `keys` holds `count` keys of this map.
        unsafe { run_batch(command::MAP_DELETE_BATCH, &mut attribute) }
    }

    /// All rows. Rows that are written or removed meanwhile may be in the result or not.
    pub(crate) fn rows(&self) -> io::Result<Rows> {
        let mut all = Rows { keys: Vec::new(), values: Vec::new(), sizes: (self.key_size, self.value_size) };
        self.scan(|keys, values| {
            all.keys.extend_from_slice(keys);
            all.values.extend_from_slice(values);
        })?;
        Ok(all)
    }

    /// How many rows there are. Rows that are written or removed meanwhile may be counted or not.
    pub(crate) fn count_rows(&self) -> io::Result<usize> {
        let mut count = 0;
        self.scan(|keys, _| count += self.count(keys))?;
        Ok(count)
    }

    /// Reads all rows, one part after another: the keys of a part, and its values.
    fn scan(&self, mut take: impl FnMut(&[u8], &[u8])) -> io::Result<()> {
        let mut chunk = 1024;
        // The kernel's position in a hash map is a number, in other maps a key.
        let mut place = vec![0; self.key_size.max(4)];
        let mut begun = false;
        loop {
            let (mut keys, mut values) = (vec![0; chunk * self.key_size], vec![0; chunk * self.value_size]);
            let mut next = vec![0; place.len()];
            let mut attribute = self.batch(&keys, chunk);
            attribute.from = if begun { place.as_ptr() as u64 } else { 0 };
            attribute.to = next.as_mut_ptr() as u64;
            attribute.keys = keys.as_mut_ptr() as u64;
            attribute.values = values.as_mut_ptr() as u64;
            // SAFETY: the buffers hold `chunk` rows, and `place` and `next` a key or a number each.
            let result = unsafe { bpf(command::MAP_LOOKUP_BATCH, &mut attribute) };
            let code = result.as_ref().err().and_then(io::Error::raw_os_error);
            if code == Some(libc::ENOSPC) {
                // One bucket of the hash holds more rows than the buffer.
                chunk *= 2;
                continue;
            }
            if code != Some(libc::ENOENT) {
                result?;
            }
            let count = (attribute.count as usize).min(chunk);
            take(&keys[..count * self.key_size], &values[..count * self.value_size]);
            if code == Some(libc::ENOENT) {
                return Ok(());
            }
            (place, begun) = (next, true);
        }
    }

    fn row(&self, key: &[u8]) -> MapAttribute {
        MapAttribute {
            map: self.descriptor.as_raw_fd() as u32,
            key: key.as_ptr() as u64,
            ..Default::default()
        }
    }

    fn batch(&self, keys: &[u8], count: usize) -> BatchAttribute {
        BatchAttribute {
            map: self.descriptor.as_raw_fd() as u32,
            keys: keys.as_ptr() as u64,
            count: u32::try_from(count).expect("fewer rows than any map has"),
            ..Default::default()
        }
    }

    fn count(&self, keys: &[u8]) -> usize {
        assert_eq!(keys.len() % self.key_size, 0, "keys of this map");
        keys.len() / self.key_size
    }
}

impl AsFd for Table {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// Pins the object at a path of the BPF file system, which keeps the object alive.
pub(crate) fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = terminated(path)?;
    let descriptor = object.as_raw_fd() as u32;
    let mut attribute = ObjectAttribute { path: path.as_ptr() as u64, descriptor, flags: 0 };
    // SAFETY: the path ends in a zero byte and lives until the call returns.
    unsafe { bpf(command::OBJECT_PIN, &mut attribute) }.map(drop)
}

/// Opens the object that is pinned at the path.
pub(crate) fn open_pinned(path: &Path) -> io::Result<OwnedFd> {
    open_pinned_with(path, 0)
}

/// Opens the map that is pinned at the path, by a descriptor with which the kernel refuses writes.
pub(crate) fn open_pinned_to_read(path: &Path) -> io::Result<OwnedFd> {
    /// `BPF_F_RDONLY`.
    const READ_ONLY: u32 = 1 << 3;
    open_pinned_with(path, READ_ONLY)
}

fn open_pinned_with(path: &Path, flags: u32) -> io::Result<OwnedFd> {
    let path = terminated(path)?;
    let mut attribute = ObjectAttribute { path: path.as_ptr() as u64, flags, ..Default::default() };
    // SAFETY: the path ends in a zero byte and lives until the call returns.
    unsafe { bpf(command::OBJECT_OPEN, &mut attribute) }.map(owned)
}

/// Attaches a program to an interface; the attachment lasts as long as the link's descriptor or pin. Linux 6.6.
pub(crate) fn create_link(program: BorrowedFd<'_>, interface: u32, point: TcxPoint) -> io::Result<OwnedFd> {
    let mut attribute = LinkAttribute {
        first: program.as_raw_fd() as u32,
        second: interface,
        point: point as u32,
        ..Default::default()
    };
    // SAFETY: the attribute holds no address.
    unsafe { bpf(command::LINK_CREATE, &mut attribute) }.map(owned)
}

/// Attaches a program to a point of a network namespace (Linux 5.9) or of a control group (Linux 5.7); the attachment lasts as
/// long as the link's descriptor or pin.
pub(crate) fn create_link_to(
    program: BorrowedFd<'_>,
    target: BorrowedFd<'_>,
    point: Point,
) -> io::Result<OwnedFd> {
    let mut attribute = LinkAttribute {
        first: program.as_raw_fd() as u32,
        second: target.as_raw_fd() as u32,
        point: point.attach_type(),
        ..Default::default()
    };
    // SAFETY: the attribute holds no address.
    unsafe { bpf(command::LINK_CREATE, &mut attribute) }.map(owned)
}

/// Replaces the program of a link, at once for every packet.
pub(crate) fn update_link(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attribute = LinkAttribute {
        first: link.as_raw_fd() as u32,
        second: program.as_raw_fd() as u32,
        ..Default::default()
    };
    // SAFETY: the attribute holds no address.
    unsafe { bpf(command::LINK_UPDATE, &mut attribute) }.map(drop)
}

/// Ends the attachment, also where other descriptors or pins hold the link.
pub(crate) fn detach_link(link: BorrowedFd<'_>) -> io::Result<()> {
    let mut attribute = LinkAttribute { first: link.as_raw_fd() as u32, ..Default::default() };
    // SAFETY: the attribute holds no address.
    unsafe { bpf(command::LINK_DETACH, &mut attribute) }.map(drop)
}

/// The programs at an attach point of an interface, in the order they run. Linux 6.6.
pub(crate) fn query(interface: u32, point: TcxPoint) -> io::Result<Vec<Queried>> {
    /// The kernel's limit on programs at an attach point (`BPF_MPROG_MAX`).
    const LIMIT: usize = 64;
    let mut programs = [0_u32; LIMIT];
    let mut links = [0_u32; LIMIT];
    let mut attribute = QueryAttribute {
        target: interface,
        point: point as u32,
        programs: programs.as_mut_ptr() as u64,
        links: links.as_mut_ptr() as u64,
        count: LIMIT as u32,
        ..Default::default()
    };
    // SAFETY: both arrays hold `count` numbers.
    unsafe { bpf(command::PROGRAM_QUERY, &mut attribute) }?;
    let found = (attribute.count as usize).min(LIMIT);
    Ok(programs.into_iter().zip(links).take(found).map(|(program, link)| Queried { program, link }).collect())
}

/// The programs at the lookup of listeners in a network namespace, in the order they run. Linux 5.9.
pub(crate) fn query_lookup(namespace: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    /// The kernel's limit on programs of this kind at a namespace (`netns_bpf_max_progs`).
    const LIMIT: usize = 64;
    let mut programs = [0_u32; LIMIT];
    let mut attribute = QueryAttribute {
        target: namespace.as_raw_fd() as u32,
        point: Point::SocketLookup.attach_type(),
        programs: programs.as_mut_ptr() as u64,
        count: LIMIT as u32,
        ..Default::default()
    };
    // SAFETY: the array holds `count` numbers.
    unsafe { bpf(command::PROGRAM_QUERY, &mut attribute) }?;
    let found = (attribute.count as usize).min(LIMIT);
    Ok(programs[..found].to_vec())
}

/// Loads a classifier that lets everything pass and does nothing else.
pub(crate) fn load_nothing() -> io::Result<OwnedFd> {
    const CLASSIFIER: u32 = 3;
    /// `r0 = 0`, `exit`.
    const CODE: [[u8; 8]; 2] = [[0xb7, 0, 0, 0, 0, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]];
    let mut attribute = ProgramAttribute {
        kind: CLASSIFIER,
        count: CODE.len() as u32,
        instructions: CODE.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
    };
    // SAFETY: the code is `count` instructions long, and the licence ends in a zero byte.
    unsafe { bpf(command::PROGRAM_LOAD, &mut attribute) }.map(owned)
}

/// Runs a classifier on a frame many times, and returns the nanoseconds of one run.
pub(crate) fn time(program: BorrowedFd<'_>, frame: &[u8], repeat: u32) -> io::Result<u32> {
    let mut attribute = TestRunAttribute {
        program: program.as_raw_fd() as u32,
        frame_size: u32::try_from(frame.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
        frame: frame.as_ptr() as u64,
        repeat,
        ..Default::default()
    };
    // SAFETY: the frame is `frame_size` bytes long, and no result is requested.
    unsafe { bpf(command::PROGRAM_TEST_RUN, &mut attribute) }?;
    Ok(attribute.nanoseconds)
}

/// # Safety
///
/// The attribute's addresses must be valid for what the command reads and writes.
unsafe fn run_batch(command: i32, attribute: &mut BatchAttribute) -> Result<(), Stopped> {
    let asked = attribute.count as usize;
    // SAFETY: the caller's promise.
    unsafe { bpf(command, attribute) }.map(drop).map_err(|error| {
        // Where the kernel refuses a batch before its first row, the count stays as it was.
        let done = attribute.count as usize;
        Stopped { done: if done >= asked { 0 } else { done }, error }
    })
}

/// # Safety
///
/// `attribute` must be laid out as the command's part of `union bpf_attr`, and its addresses must be valid for what
/// the command reads and writes.
unsafe fn bpf<A>(command: i32, attribute: &mut A) -> io::Result<i32> {
    // SAFETY: the caller's promise; the size is the attribute's own.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attribute), size_of::<A>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}

fn owned(descriptor: i32) -> OwnedFd {
    // SAFETY: only called on what the kernel returned as a new descriptor.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}

fn terminated(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| io::ErrorKind::InvalidInput.into())
}

//! The layout that kernel and user space agree on, against the one that is written down in `layout.txt`.

use abi::map::{self, Map};
use abi::policy::Direction;
use abi::{DropReason, Hook, LAYOUT, config, conntrack, endpoint, event, identity, mark, policy, protocol};
use std::any::type_name;
use std::fmt::{self, Debug, Display, Write};
use std::path::Path;
use zerocopy::FromBytes;

/// Set to write the layout down anew.
const REFRESH: &str = "NEXIN_REFRESH";
/// How the layout is written down anew.
const HOW: &str = "NEXIN_REFRESH=1 cargo test -p nexin-abi --test layout";

#[test]
fn the_layout_is_the_one_that_is_written_down() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("layout.txt");
    let now = layout().expect("text can be written to a string");
    if std::env::var_os(REFRESH).is_some() {
        std::fs::write(&path, now).unwrap();
        return;
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    if now == golden {
        return;
    }
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let (before, after) = (lines(&golden), lines(&now));
    let gone = before.iter().filter(|line| !after.contains(line)).map(|line| format!("- {line}"));
    let new = after.iter().filter(|line| !before.contains(line)).map(|line| format!("+ {line}"));
    let differences: Vec<_> = gone.chain(new).collect();
    panic!(
        "the layout differs from {}:\n{}\nWhere a map that is pinned changes its kind, key or value, or a number in one its \
         meaning, raise `abi::LAYOUT`, so that no agent adopts the maps of an earlier release. Then write the layout down: \
         {HOW}",
        path.display(),
        differences.join("\n")
    );
}

/// The layout as text.
fn layout() -> Result<String, fmt::Error> {
    let mut text =
        format!("# What kernel and user space agree on. After a change: {HOW}\n\nlayout {LAYOUT}\n");
    maps(&mut text)?;
    writeln!(text, "\nhooks: program, attach point, interface")?;
    for hook in Hook::ALL {
        writeln!(text, "  {hook}: {:?}, {:?}", hook.point(), hook.site())?;
    }
    writeln!(text, "\ndrop reasons")?;
    for reason in DropReason::ALL {
        writeln!(text, "  {} {reason:?}: {}", *reason as u8, reason.describe())?;
    }
    writeln!(text, "\nprotocols")?;
    for number in protocol::ALL {
        writeln!(text, "  {number} {}", protocol::name(*number).expect("a listed protocol has a name"))?;
    }
    verdicts_and_directions(&mut text)?;
    constants(&mut text)?;
    Ok(text)
}

/// Every map of the list with its key and value.
fn maps(text: &mut String) -> fmt::Result {
    macro_rules! describe {
        ($($(#[$doc:meta])* $map:ident = $name:ident: $kind:ident<$key:ty, $value:ty>,
           capacity $capacity:expr, in tests $small:expr, written by $writer:ident
           $(, row $row:ident)? $(, value $single:ident)?;)*) => {
            $(describe_map(text, map::$map)?;)*
        };
    }
    abi::with_maps!(describe);
    Ok(())
}

fn describe_map<M: Map>(text: &mut String, _map: M) -> fmt::Result {
    let id = M::ID;
    let (kind, capacity, writer) = (id.kind().name(), id.default_capacity(), id.writer());
    writeln!(text, "\nmap {id}: {kind}, capacity {capacity}, written by {writer:?}")?;
    describe_type::<M::Key>(text, "key")?;
    describe_type::<M::Value>(text, "value")
}

/// Size, alignment and fields of a type.
fn describe_type<T: FromBytes + Debug>(text: &mut String, part: &str) -> fmt::Result {
    writeln!(
        text,
        "  {part} {}: {} bytes, aligned to {}",
        type_name::<T>(),
        size_of::<T>(),
        align_of::<T>()
    )?;
    fields::<T>().iter().try_for_each(|field| writeln!(text, "    {field}"))
}

/// A field of a type, and the bytes that it takes.
struct Field {
    name: String,
    first: usize,
    size: usize,
}

impl Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>3} {:>2} {}", self.first, self.size, self.name)
    }
}

/// The fields of a type, found by setting one byte of a zeroed value after the other and looking which field is printed
/// otherwise. So no list of fields stands beside the type.
fn fields<T: FromBytes + Debug>() -> Vec<Field> {
    let mut bytes = vec![0; size_of::<T>()];
    let zero = printed_fields::<T>(&bytes);
    let mut fields: Vec<Field> = Vec::new();
    for at in 0..bytes.len() {
        bytes[at] = 1;
        let changed = printed_fields::<T>(&bytes);
        bytes[at] = 0;
        let Some((name, _)) = changed.into_iter().find(|field| !zero.contains(field)) else { continue };
        match fields.last_mut().filter(|last| last.name == name) {
            Some(last) => last.size += 1,
            None => fields.push(Field { name, first: at, size: 1 }),
        }
    }
    fields
}

/// Name and text of each field of a struct, as `Debug` prints it; none of other types.
fn printed_fields<T: FromBytes + Debug>(bytes: &[u8]) -> Vec<(String, String)> {
    let value = T::read_from_bytes(bytes).expect("the bytes are as many as the type has");
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in format!("{value:#?}").lines().skip(1) {
        let own = line
            .strip_prefix("    ")
            .filter(|rest| !rest.starts_with(' '))
            .and_then(|rest| rest.split_once(": "));
        match (own, fields.last_mut()) {
            (Some((name, text)), _) => fields.push((name.to_owned(), text.to_owned())),
            (None, Some((_, text))) => text.push_str(line),
            (None, None) => {}
        }
    }
    fields
}

fn verdicts_and_directions(text: &mut String) -> fmt::Result {
    writeln!(text, "\nverdicts of events")?;
    for verdict in [
        event::PacketVerdict::Forward,
        event::PacketVerdict::Drop,
        event::PacketVerdict::Redirect,
        event::PacketVerdict::Audit,
    ] {
        // A new verdict does not compile until it stands in this list too.
        match verdict {
            event::PacketVerdict::Forward
            | event::PacketVerdict::Drop
            | event::PacketVerdict::Redirect
            | event::PacketVerdict::Audit => {}
        }
        writeln!(text, "  {} {verdict:?}", verdict as u8)?;
    }
    writeln!(text, "\ndirections")?;
    for direction in [Direction::Ingress, Direction::Egress] {
        writeln!(text, "  {} {direction:?}", direction as u8)?;
    }
    Ok(())
}

/// The numbers that map entries and packet marks hold.
fn constants(text: &mut String) -> fmt::Result {
    macro_rules! constants {
        ($($($part:ident)::+),* $(,)?) => {
            $(writeln!(text, "  {} = {:#x}", stringify!($($part)::+).replace(' ', ""), $($part)::+)?;)*
        };
    }
    writeln!(text, "\nnumbers")?;
    constants! {
        config::flag::REPORT_OPENED,
        config::flag::REPORT_ANSWERED,
        config::flag::REPORT_ENDED,
        config::flag::REPORT_PACKETS,
        config::flag::REPORT_HOPS,
        config::flag::NODE_OPEN,
        conntrack::flag::LOCAL_OPENED, conntrack::flag::ANSWERED, conntrack::flag::LOCAL_CLOSED,
        conntrack::flag::REMOTE_CLOSED, conntrack::flag::RESET, conntrack::flag::PROXIED, conntrack::flag::TRANSLATED,
        endpoint::flag::ENFORCE_INGRESS, endpoint::flag::ENFORCE_EGRESS, endpoint::flag::AUDIT,
        event::COUNTER_ROWS,
        event::LOST_FORWARDS,
        event::LOST_DENIALS,
        identity::UNKNOWN, identity::HOST, identity::WORLD, identity::UNMANAGED, identity::HEALTH, identity::INIT,
        identity::REMOTE_NODE, identity::KUBE_APISERVER, identity::INGRESS, identity::WORLD_IPV4, identity::WORLD_IPV6,
        identity::FIRST_ALLOCATED, identity::LAST_ALLOCATED, identity::FIRST_LOCAL, identity::FIRST_NODE,
        identity::FIRST_NAMESPACE,
        map::proxy_socket::V4, map::proxy_socket::V6,
        mark::MASK, mark::TO_PROXY, mark::FROM_PROXY,
        policy::action::DENY, policy::action::ALLOW, policy::action::REDIRECT,
        policy::WHOLE_INSIDE, policy::WHOLE_WORLD, policy::FIRST_BLOCK,
        policy::GROUP_OF_OTHERS, policy::GROUP_OF_WORKLOADS, policy::MAX_NESTING,
        policy::VerdictKey::SILENT, policy::VerdictKey::ANY_PROTOCOL, policy::VerdictKey::ANY_PORT,
        policy::VerdictKey::ONE_PORT,
    }
    Ok(())
}

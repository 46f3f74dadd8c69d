//! Programs at interfaces: links and filters, pins, and taking over from an earlier run.

use crate::ground::{Pins, delete_interface, interface, loaded, possible};
use abi::Hook;
use abi::address::AddressKey;
use abi::map;
use abi::row::{MapOp, Row};
use loader::inspect::{AttachPoint, attachments, programs};
use loader::{Capacities, Loaded, Mode, OpenError, Options, PinError};
use std::time::Duration;

/// Programs at the network namespace are listed under this index.
const NO_INTERFACE: u32 = 0;

/// Points and programs at the interface, and their links.
fn at(interface: u32) -> Vec<(AttachPoint, u32, Option<u32>)> {
    let found = attachments().unwrap().into_iter().filter(|found| found.interface == interface);
    found.map(|found| (found.point, found.program, found.link)).collect()
}

fn points(interface: u32) -> Vec<AttachPoint> {
    at(interface).into_iter().map(|(point, ..)| point).collect()
}

fn name(program: u32) -> String {
    programs().unwrap().into_iter().find(|found| found.id == program).expect("it is loaded").name
}

fn row() -> Row {
    Row::Address(AddressKey::host(abi::Address::from_v4([10, 0, 0, 9])), Default::default())
}

#[test]
fn a_workload_has_a_program_in_each_direction_until_it_is_detached() {
    if !possible() {
        return;
    }
    let interface = interface();
    let mut loaded = loaded();
    loaded.attach(interface).unwrap();
    loaded.attach(interface).expect("it is attached already");
    let found = at(interface);
    assert_eq!(points(interface), [AttachPoint::TcxIngress, AttachPoint::TcxEgress]);
    assert_eq!([name(found[0].1), name(found[1].1)], ["from_workload", "to_workload"]);
    assert_eq!(loaded.attached().count(), 2);
    loaded.attach_proxy(interface).unwrap();
    assert_eq!(points(interface).len(), 3);
    let lookups = at(NO_INTERFACE);
    assert_eq!(points(NO_INTERFACE), [AttachPoint::SocketLookup]);
    assert_eq!(name(lookups[0].1), "proxy_socket");
    loaded.detach(interface).unwrap();
    assert_eq!(points(interface), []);
    assert_eq!(points(NO_INTERFACE), []);
    assert_eq!(loaded.attached().count(), 0);
}

#[test]
fn without_pins_programs_are_detached_when_the_value_is_dropped() {
    if !possible() {
        return;
    }
    let interface = interface();
    let mut loaded = loaded();
    loaded.attach(interface).unwrap();
    drop(loaded);
    assert_eq!(points(interface), []);
}

#[test]
fn an_interface_that_is_not_there_is_named() {
    if !possible() {
        return;
    }
    interface();
    let mut loaded = loaded();
    let error = loaded.attach(4711).unwrap_err();
    assert!(
        error.to_string().starts_with("program from_workload at interface 4711: No such device"),
        "{error}"
    );
    assert_eq!(loaded.attached().count(), 0);
}

#[test]
fn an_interface_that_is_gone_can_be_detached() {
    if !possible() {
        return;
    }
    for mode in [Mode::Automatic, Mode::Clsact] {
        let (interface, pins) = (interface(), Pins::new());
        let mut loaded = Loaded::open(Options { mode, ..pins.options() }).unwrap();
        loaded.attach(interface).unwrap();
        delete_interface(interface);
        loaded.detach(interface).unwrap();
        assert_eq!(std::fs::read_dir(pins.0.join("links")).unwrap().count(), 0, "{mode:?}");
    }
}

#[test]
fn a_second_attachment_that_fails_removes_the_first() {
    if !possible() {
        return;
    }
    for (mode, suffix) in [(Mode::Automatic, ""), (Mode::Clsact, "-clsact")] {
        let (interface, pins) = (interface(), Pins::new());
        let mut loaded = Loaded::open(Options { mode, ..pins.options() }).unwrap();
        let links = pins.0.join("links");
        // A pin's place that is taken.
        let taken = links.join(format!("{interface}-to_workload{suffix}"));
        std::fs::create_dir(&taken).unwrap();
        let error = loaded.attach(interface).unwrap_err();
        assert!(error.to_string().starts_with("program to_workload at interface"), "{error}");
        assert_eq!(points(interface), [], "{mode:?}");
        std::fs::remove_dir(&taken).unwrap();
        assert_eq!(std::fs::read_dir(&links).unwrap().count(), 0, "{mode:?}");
        loaded.attach(interface).unwrap();
        assert_eq!(points(interface).len(), 2, "{mode:?}");
    }
}

#[test]
fn a_restart_keeps_rows_and_links_and_replaces_programs_in_place() {
    if !possible() {
        return;
    }
    let (interface, pins) = (interface(), Pins::new());
    let mut loaded = Loaded::open(pins.options()).unwrap();
    loaded.attach(interface).unwrap();
    loaded.apply(&[MapOp::Put(row())].into()).unwrap();
    let before = at(interface);
    drop(loaded);
    assert_eq!(at(interface), before, "the programs stay attached while no agent runs");

    let loaded = Loaded::open(pins.options()).unwrap();
    let after = at(interface);
    let links =
        |found: &[(AttachPoint, u32, Option<u32>)]| found.iter().map(|found| found.2).collect::<Vec<_>>();
    assert_eq!(links(&after), links(&before), "the links stay");
    assert!(after.iter().zip(&before).all(|(after, before)| after.1 != before.1), "{after:?} {before:?}");
    assert_eq!(
        loaded.attached().collect::<Vec<_>>(),
        [(interface, Hook::FromWorkload), (interface, Hook::ToWorkload)]
    );
    assert!(loaded.rows().unwrap().contains(&row()));
    loaded.unload().unwrap();
    assert_eq!(points(interface), []);
    assert!(!pins.0.exists());
}

#[test]
fn a_restart_replaces_filters_in_place_and_never_stacks_them() {
    if !possible() {
        return;
    }
    let (interface, pins) = (interface(), Pins::new());
    let options = Options { mode: Mode::Clsact, ..pins.options() };
    let mut loaded = Loaded::open(options.clone()).unwrap();
    loaded.attach(interface).unwrap();
    let before = at(interface);
    assert_eq!(points(interface), [AttachPoint::ClsactIngress, AttachPoint::ClsactEgress]);
    drop(loaded);
    assert_eq!(at(interface), before, "the programs stay attached while no agent runs");

    let loaded = Loaded::open(options).unwrap();
    let after = at(interface);
    assert_eq!(after.len(), 2);
    assert!(after.iter().zip(&before).all(|(after, before)| after.1 != before.1), "{after:?} {before:?}");
    assert_eq!(loaded.attached().count(), 2);
    loaded.unload().unwrap();
    assert_eq!(points(interface), []);
}

#[test]
fn a_restart_removes_the_pins_of_interfaces_that_are_gone() {
    if !possible() {
        return;
    }
    for mode in [Mode::Automatic, Mode::Clsact] {
        let (interface, pins) = (interface(), Pins::new());
        let options = Options { mode, ..pins.options() };
        Loaded::open(options.clone()).unwrap().attach(interface).unwrap();
        delete_interface(interface);
        let loaded = Loaded::open(options).unwrap();
        assert_eq!(loaded.attached().count(), 0, "{mode:?}");
        assert_eq!(std::fs::read_dir(pins.0.join("links")).unwrap().count(), 0, "{mode:?}");
    }
}

#[test]
fn pinned_maps_of_another_shape_are_refused_and_stay() {
    if !possible() {
        return;
    }
    let pins = Pins::new();
    Loaded::open(pins.options()).unwrap().apply(&[MapOp::Put(row())].into()).unwrap();
    let capacities = Capacities::SMALL.with(map::Classes, 8);
    let error = Loaded::open(Options { capacities, ..pins.options() }).unwrap_err();
    assert!(matches!(&error, OpenError::Pin(PinError::Shape { what: "capacity", .. })), "{error}");
    let text = error.to_string();
    assert!(text.contains("NX_CLASSES is a map with capacity 4096, and the programs need 8"), "{text}");
    assert!(Loaded::open(pins.options()).unwrap().rows().unwrap().contains(&row()));
}

#[test]
fn a_pin_directory_on_another_file_system_is_refused() {
    if !possible() {
        return;
    }
    let options = Options { pin_directory: Some(std::env::temp_dir().join("pins")), ..Options::default() };
    let error = Loaded::open(options).unwrap_err();
    assert!(matches!(error, OpenError::Pin(PinError::Elsewhere(_))), "{error}");
}

#[test]
fn the_way_out_of_the_node_has_a_program_in_each_direction_until_it_is_detached() {
    if !possible() {
        return;
    }
    for mode in [Mode::Automatic, Mode::Clsact] {
        let (interface, pins) = (interface(), Pins::new());
        let options = Options { mode, ..pins.options() };
        Loaded::open(options.clone()).unwrap().attach_outside(interface).unwrap();
        let mut loaded = Loaded::open(options).unwrap();
        let attached: Vec<_> = loaded.attached().collect();
        assert_eq!(attached, [(interface, Hook::FromOutside), (interface, Hook::ToOutside)], "{mode:?}");
        assert_eq!(points(interface).len(), 2, "{mode:?}");
        loaded.detach(interface).unwrap();
        assert_eq!(points(interface), [], "{mode:?}");
    }
}

#[test]
fn what_is_removed_after_many_checks_found_nothing_is_restored() {
    if !possible() {
        return;
    }
    let (interface, pins) = (interface(), Pins::new());
    let mut loaded = Loaded::open(pins.options()).unwrap();
    loaded.attach(interface).unwrap();
    let mut upkeep = loaded.upkeep();
    // From the second check of unchanged directories on, they are not listed.
    std::thread::sleep(Duration::from_secs(3));
    let mut restored = || {
        let (restored, failures) = upkeep.restore();
        assert!(failures.is_empty(), "{failures:?}");
        restored.len()
    };
    assert_eq!((restored(), restored()), (0, 0));
    let pin = |directory: &str| {
        let pins = std::fs::read_dir(pins.0.join(directory)).unwrap();
        pins.map(|pin| pin.unwrap().path()).next().unwrap()
    };
    for directory in ["links".to_owned(), format!("v{}", abi::LAYOUT)] {
        let removed = pin(&directory);
        std::fs::remove_file(&removed).unwrap();
        assert_eq!((restored(), removed.exists()), (1, true), "{directory}");
        assert_eq!((restored(), restored()), (0, 0));
    }
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!((restored(), restored()), (0, 0));
    loader::remove_pins(&pins.0).unwrap();
    assert!(restored() > 2, "two programs and all pins");
    assert_eq!(points(interface).len(), 2);
}

//! Workloads connected to a node, in network namespaces that the tests create.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use workload::{
    Group, Ipv6, NetworkNamespace, NetworkWatch, NodeNamespace, PROXY_INTERFACE, Plan, ProcessSettings,
    ProxyRouting, Route, RouteKind, Veth, Wired, spawn, stop, sweep,
};

const MTU: u32 = 1500;

/// True where namespaces can be created. As root this is not checked, so that the tests fail where it is not possible.
fn possible() -> bool {
    let possible = rustix::process::geteuid().is_root();
    if !possible {
        assert!(std::env::var_os("CI").is_none(), "CI runs these tests as root");
        println!("skipped: making network namespaces takes root");
    }
    possible
}

/// A node in its own namespace, and its workloads.
struct Bed {
    node: NodeNamespace,
    workloads: Vec<(NetworkNamespace, Wired)>,
}

impl Bed {
    fn new(workloads: &[&[&str]]) -> Self {
        let mut node = NodeNamespace::of(NetworkNamespace::anonymous().unwrap()).unwrap();
        node.prepare().unwrap();
        let mut bed = Self { node, workloads: Vec::new() };
        for (index, addresses) in workloads.iter().enumerate() {
            bed.add(&format!("nx{index}"), addresses);
        }
        bed
    }

    fn add(&mut self, host: &str, addresses: &[&str]) {
        let addresses: Vec<IpAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
        let namespace = NetworkNamespace::anonymous().unwrap();
        let plan = Plan { host, addresses: &addresses, mtu: MTU, index: None, alias: None };
        let wired = self.node.wire(&namespace, &plan).unwrap();
        self.workloads.push((namespace, wired));
    }

    fn up(&mut self) {
        for (_, wired) in &self.workloads {
            self.node.up(wired).unwrap();
        }
    }
}

/// Sends a line from one workload to another over TCP, and returns the response.
fn converse(from: &NetworkNamespace, to: &NetworkNamespace, address: SocketAddr) -> String {
    let listener = to.enter(|| TcpListener::bind(address).unwrap()).unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, peer) = listener.accept().unwrap();
        let mut line = [0; 5];
        stream.read_exact(&mut line).unwrap();
        write!(stream, "{} to {}", String::from_utf8_lossy(&line), peer.ip()).unwrap();
    });
    let mut stream =
        from.enter(|| TcpStream::connect_timeout(&address, Duration::from_secs(2)).unwrap()).unwrap();
    stream.write_all(b"hello").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    server.join().unwrap();
    answer
}

#[test]
fn two_workloads_talk_over_both_families_with_their_own_addresses() {
    if !possible() {
        return;
    }
    let mut bed = Bed::new(&[&["10.0.0.1", "fd00::1"], &["10.0.0.2", "fd00::2"]]);
    bed.up();
    let [(one, _), (two, _)] = &bed.workloads[..] else { panic!("two workloads") };
    assert_eq!(converse(one, two, "10.0.0.2:80".parse().unwrap()), "hello to 10.0.0.1");
    assert_eq!(converse(one, two, "[fd00::2]:80".parse().unwrap()), "hello to fd00::1");
    assert_eq!(converse(two, one, "10.0.0.1:80".parse().unwrap()), "hello to 10.0.0.2");
}

#[test]
fn nothing_passes_before_the_host_side_is_up() {
    if !possible() {
        return;
    }
    let mut bed = Bed::new(&[&["10.0.0.1"], &["10.0.0.2"]]);
    let links = bed.node.network().links().unwrap();
    assert!(links.iter().filter(|link| link.name.starts_with("nx")).all(|link| !link.is_up), "{links:?}");
    let address: SocketAddr = "10.0.0.2:80".parse().unwrap();
    let _listener = bed.workloads[1].0.enter(|| TcpListener::bind(address).unwrap()).unwrap();
    let connect = |patience| move || TcpStream::connect_timeout(&address, patience).map(drop);
    bed.workloads[0].0.enter(connect(Duration::from_millis(200))).unwrap().unwrap_err();
    bed.up();
    bed.workloads[0].0.enter(connect(Duration::from_secs(5))).unwrap().unwrap();
}

#[test]
fn a_wired_workload_is_as_planned_and_unwiring_leaves_nothing() {
    if !possible() {
        return;
    }
    let mut node = NodeNamespace::of(NetworkNamespace::anonymous().unwrap()).unwrap();
    let namespace = NetworkNamespace::anonymous().unwrap();
    let addresses = ["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()];
    let plan = Plan { host: "nx7", addresses: &addresses, mtu: 1400, index: Some(1007), alias: None };
    let wired = node.wire(&namespace, &plan).unwrap();
    assert_eq!(wired.interface, 1007);
    let host = node.network().link("nx7").unwrap().unwrap();
    assert_eq!((host.index, host.mac, host.mtu), (1007, wired.host_mac, 1400));
    let inside = workload::Network::of(&namespace).unwrap().link("eth0").unwrap().unwrap();
    assert_eq!((inside.mac, inside.mtu, inside.is_up), (wired.mac, 1400, true));
    let error = node.wire(&NetworkNamespace::anonymous().unwrap(), &plan).unwrap_err();
    assert!(error.to_string().contains("making interfaces nx7 and eth0"), "{error}");
    assert!(node.network().link("nx7").unwrap().is_some(), "who was there first stays");
    node.unwire("nx7").unwrap();
    node.unwire("nx7").unwrap();
    assert_eq!(node.network().links().unwrap().len(), 1, "the loopback is left");
}

#[test]
fn a_wiring_that_fails_leaves_no_interface() {
    if !possible() {
        return;
    }
    let mut node = NodeNamespace::of(NetworkNamespace::anonymous().unwrap()).unwrap();
    let namespace = NetworkNamespace::anonymous().unwrap();
    let twice = ["10.0.0.1".parse().unwrap(), "10.0.0.1".parse().unwrap()];
    let plan = Plan { host: "nx1", addresses: &twice, mtu: MTU, index: None, alias: None };
    let error = node.wire(&namespace, &plan).unwrap_err();
    assert!(error.to_string().starts_with("address 10.0.0.1/32"), "{error}");
    assert_eq!(node.network().link("nx1").unwrap(), None);
    assert_eq!(workload::Network::of(&namespace).unwrap().link("eth0").unwrap(), None);
}

#[test]
fn only_marked_packets_reach_the_local_stack_whatever_their_destination() {
    if !possible() {
        return;
    }
    let mut node = NodeNamespace::of(NetworkNamespace::anonymous().unwrap()).unwrap();
    node.prepare().unwrap();
    let routing =
        ProxyRouting { mark: 0x4e58_0000, mask: 0xffff_0000, table: 20_056, priority: 90, mtu: MTU };
    // The leftovers of a process that crashed meanwhile; no process has this number.
    let (name, peer) = ("nxp4000000000", workload::PROXY_PEER);
    node.network().create_veth(&Veth { name, peer, peer_namespace: None, mtu: MTU, index: None }).unwrap();
    let proxy = node.create_proxy(&routing, "mine").unwrap();
    assert_eq!(node.network().link(name).unwrap(), None);
    assert_eq!(node.create_proxy(&routing, "mine").unwrap(), proxy, "what an earlier run left is taken over");
    let refused = node.create_proxy(&routing, "another's").unwrap_err().to_string();
    assert!(refused.contains(PROXY_INTERFACE) && refused.contains("mine"), "{refused}");
    assert_eq!(node.proxy_alias().unwrap().as_deref(), Some("mine"));
    for (bind, stranger) in [("0.0.0.0:0", "198.51.100.9"), ("[::]:0", "2001:db8::9")] {
        assert!(reaches_itself(&node, bind, stranger, routing.mark | 7), "{stranger}");
        assert!(!reaches_itself(&node, bind, stranger, 0), "{stranger}");
    }
    node.remove_proxy(&routing).unwrap();
    node.remove_proxy(&routing).unwrap();
    assert_eq!(node.network().link(PROXY_INTERFACE).unwrap(), None);
    assert!(!reaches_itself(&node, "0.0.0.0:0", "198.51.100.9", routing.mark));
}

/// Whether a datagram with a mark to a foreign address is received on the node itself.
fn reaches_itself(node: &NodeNamespace, bind: &str, stranger: &str, mark: u32) -> bool {
    let run = || {
        let receiver = UdpSocket::bind(bind).unwrap();
        receiver.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let sender = UdpSocket::bind(bind).unwrap();
        socket2::SockRef::from(&sender).set_mark(mark).unwrap();
        let to = SocketAddr::new(stranger.parse().unwrap(), receiver.local_addr().unwrap().port());
        sender.send_to(b"knock", to).is_ok() && receiver.recv(&mut [0; 8]).is_ok()
    };
    node.namespace().enter(run).unwrap()
}

#[test]
fn without_ipv6_marked_packets_are_routed_by_ipv4_alone() {
    if !possible() {
        return;
    }
    let namespace = NetworkNamespace::anonymous().unwrap();
    let disable = || std::fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1").unwrap();
    namespace.enter(disable).unwrap();
    let mut node = NodeNamespace::of(namespace).unwrap();
    assert!(matches!(node.ipv6(), Ipv6::Disabled("net.ipv6.conf.all.disable_ipv6")));
    node.prepare().unwrap();
    let routing =
        ProxyRouting { mark: 0x4e58_0000, mask: 0xffff_0000, table: 20_056, priority: 90, mtu: MTU };
    node.create_proxy(&routing, "mine").unwrap();
    assert!(reaches_itself(&node, "0.0.0.0:0", "198.51.100.9", routing.mark));
    let addresses = ["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()];
    let plan = Plan { host: "nx1", addresses: &addresses, mtu: MTU, index: None, alias: None };
    let refused = node.wire(&NetworkNamespace::anonymous().unwrap(), &plan).unwrap_err().to_string();
    assert!(refused.contains("fd00::1") && refused.contains("disable_ipv6"), "{refused}");
    assert_eq!(node.network().link("nx1").unwrap(), None);
    node.remove_proxy(&routing).unwrap();
}

#[test]
fn interfaces_are_deleted_together_and_others_of_their_group_stay() {
    if !possible() {
        return;
    }
    let mut node = NodeNamespace::of(NetworkNamespace::anonymous().unwrap()).unwrap();
    let make = |node: &mut NodeNamespace, name: &str| {
        let peer = format!("{name}p");
        node.network()
            .create_veth(&Veth { name, peer: &peer, peer_namespace: None, mtu: MTU, index: None })
            .unwrap();
    };
    for round in 0..2 {
        ["a", "b", "c"].iter().for_each(|name| make(&mut node, name));
        if round == 1 {
            make(&mut node, "foreign");
            // The interface group that the deletion uses.
            node.namespace()
                .enter(|| {
                    let done =
                        Command::new("ip").args(["link", "set", "foreign", "group", "1314407758"]).status();
                    assert!(done.unwrap().success());
                })
                .unwrap();
        }
        let links = node.network().links().unwrap();
        let (gone, kept): (Vec<_>, Vec<_>) =
            links.into_iter().partition(|link| ["a", "b", "c"].contains(&&*link.name));
        assert_eq!(gone.len(), 3);
        let kept = kept.iter().filter(|link| !["ap", "bp", "cp"].contains(&&*link.name)).count();
        node.network().delete_links(&gone).unwrap();
        assert_eq!(node.network().links().unwrap().len(), kept, "round {round}");
        node.network().delete_links(&gone).unwrap();
    }
    assert!(node.network().link("foreign").unwrap().is_some());
}

#[test]
fn a_group_ends_with_everything_that_was_started_in_it() {
    if !possible() {
        return;
    }
    let Some(hierarchy) = Group::hierarchy().unwrap() else { panic!("these tests need cgroup2") };
    let outer = Group::at(hierarchy.join(format!("nxtest-{}", std::process::id())));
    let group = Group::at(outer.directory().join("1"));
    group.create().unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", "setsid unshare -n sleep 60 & sleep 60 & echo; wait"]).stdout(Stdio::piped());
    group.open().unwrap().enter_on_start(&mut command);
    let mut child = command.spawn().unwrap();
    child.stdout.take().unwrap().read_exact(&mut [0]).unwrap();
    assert!(group.processes().unwrap().contains(&child.id()));
    assert_eq!(outer.processes().unwrap().len(), 3);
    outer.remove().unwrap_err();
    outer.kill().unwrap();
    assert!(!child.wait().unwrap().success());
    assert_eq!(outer.processes().unwrap(), Vec::<u32>::new());
    outer.remove().unwrap();
    assert!(!outer.directory().exists());
}

#[test]
fn a_leftover_name_is_no_namespace() {
    if !possible() {
        return;
    }
    let name = format!("nxtest-bare-{}", std::process::id());
    std::fs::create_dir_all("/run/netns").unwrap();
    std::fs::write(format!("/run/netns/{name}"), "").unwrap();
    assert!(NetworkNamespace::find(&name).unwrap().is_none());
    assert!(matches!(NetworkNamespace::open(&name), Err(workload::NamespaceError::Missing(_))));
    NetworkNamespace::delete(&name).unwrap();
}

#[test]
fn a_named_namespace_is_found_until_it_is_deleted() {
    if !possible() {
        return;
    }
    let name = format!("nxtest-name-{}", std::process::id());
    let made = NetworkNamespace::create(&name).unwrap();
    assert!(matches!(NetworkNamespace::create(&name), Err(workload::NamespaceError::Exists(_))));
    assert!(NetworkNamespace::names().unwrap().contains(&name));
    assert_eq!(NetworkNamespace::open(&name).unwrap().id().unwrap(), made.id().unwrap());
    assert_ne!(NetworkNamespace::current().unwrap().id().unwrap(), made.id().unwrap());
    let inside = made.enter(|| NetworkNamespace::current().unwrap().id().unwrap()).unwrap();
    assert_eq!(inside, made.id().unwrap());
    NetworkNamespace::delete(&name).unwrap();
    NetworkNamespace::delete(&name).unwrap();
    assert!(matches!(NetworkNamespace::open(&name), Err(workload::NamespaceError::Missing(_))));
}

#[test]
#[ignore = "needs root"]
fn the_names_of_network_namespaces_are_mounts_of_the_machine_only() {
    let name = format!("nxw{}", std::process::id());
    let namespace = NetworkNamespace::create(&name).unwrap();
    let mut command = Command::new("cat");
    command.arg("/proc/self/mountinfo").stdout(Stdio::piped());
    let child = spawn(command, &namespace, &ProcessSettings::default()).unwrap();
    let output = child.wait_with_output().unwrap();
    let machine = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    NetworkNamespace::delete(&name).unwrap();
    assert!(machine.contains(&name), "{machine}");
    let inside = String::from_utf8(output.stdout).unwrap();
    assert!(!inside.is_empty() && !inside.contains("/run/netns"), "{inside}");
}

#[test]
fn a_command_sees_its_own_interfaces_and_names_and_the_machine_sees_neither() {
    if !possible() {
        return;
    }
    let before = std::fs::read_to_string("/etc/hosts").unwrap();
    let bed = Bed::new(&[&["10.0.0.1"]]);
    let hosts = vec![("10.96.0.7".parse().unwrap(), "app1-service".to_owned())];
    let mut command = Command::new("sh");
    command.args(["-c", "ls /sys/class/net; tail -n 1 /etc/hosts"]).stdout(Stdio::piped());
    let child = spawn(command, &bed.workloads[0].0, &ProcessSettings { hosts }).unwrap();
    let output = child.wait_with_output().unwrap();
    let seen = String::from_utf8(output.stdout).unwrap();
    let words: Vec<_> = seen.split_whitespace().collect();
    assert_eq!(words, ["eth0", "lo", "10.96.0.7", "app1-service"]);
    assert_eq!(std::fs::read_to_string("/etc/hosts").unwrap(), before);
}

#[test]
fn the_error_names_a_command_that_does_not_exist() {
    if !possible() {
        return;
    }
    let namespace = NetworkNamespace::anonymous().unwrap();
    let error = spawn(Command::new("/nonexistent/x"), &namespace, &ProcessSettings::default()).unwrap_err();
    assert!(error.to_string().starts_with("/nonexistent/x: starting it: No such file"), "{error}");
}

#[test]
fn stopping_kills_a_process_group_that_ignores_the_signal() {
    if !possible() {
        return;
    }
    let namespace = NetworkNamespace::anonymous().unwrap();
    let mut command = Command::new("sh");
    command
        .args(["-c", "trap '' TERM; sleep 60 & echo ready; while :; do sleep 1; done"])
        .stdout(Stdio::piped());
    let mut child = spawn(command, &namespace, &ProcessSettings::default()).unwrap();
    child.stdout.take().unwrap().read_exact(&mut [0; 5]).unwrap();
    let start = Instant::now();
    let status = stop(&mut child, Duration::from_millis(50)).unwrap();
    assert!(
        !status.success() && start.elapsed() < Duration::from_secs(2),
        "{status} after {:?}",
        start.elapsed()
    );
}

#[test]
fn a_sweep_removes_what_a_crash_left_and_nothing_else() {
    if !possible() {
        return;
    }
    let prefix = format!("nxs{}", std::process::id() % 100_000);
    let [name, other] = [format!("{prefix}-app"), format!("other-{prefix}")];
    let namespace = NetworkNamespace::create(&name).unwrap();
    NetworkNamespace::create(&other).unwrap();
    let mut node = NodeNamespace::of(NetworkNamespace::anonymous().unwrap()).unwrap();
    let addresses = ["10.0.0.1".parse().unwrap()];
    let plan = Plan { host: &prefix, addresses: &addresses, mtu: MTU, index: None, alias: None };
    node.wire(&namespace, &plan).unwrap();
    let mut command = Command::new("sleep");
    command.arg("60");
    let mut child = spawn(command, &namespace, &ProcessSettings::default()).unwrap();
    let swept = sweep(&mut node, &prefix).unwrap();
    assert_eq!(swept.namespaces, [name]);
    assert_eq!(swept.links, std::slice::from_ref(&prefix));
    assert_eq!(swept.processes, [child.id()]);
    assert!(!child.wait().unwrap().success());
    assert!(NetworkNamespace::open(&other).is_ok());
    NetworkNamespace::delete(&other).unwrap();
    assert_eq!(sweep(&mut node, &prefix).unwrap(), workload::Swept::default());
}

#[test]
fn wiring_a_workload_takes_milliseconds() {
    if !possible() {
        return;
    }
    let mut bed = Bed::new(&[]);
    let mut times: Vec<Duration> = (0..20)
        .map(|index| {
            let start = Instant::now();
            bed.add(&format!("nx{index}"), &[&format!("10.0.0.{index}"), &format!("fd00::{index}")]);
            bed.node.up(&bed.workloads[index].1).unwrap();
            start.elapsed()
        })
        .collect();
    times.sort();
    println!("wiring a workload: median {:?}, slowest {:?}", times[10], times[19]);
    // The bound is generous for a machine under load; a second means that something waits.
    assert!(times[10] < Duration::from_millis(200), "{times:?}");
}

#[test]
fn outside_interfaces_have_a_default_route_and_carry_ethernet() {
    if !possible() {
        return;
    }
    let mut bed = Bed::new(&[&["10.0.0.1"], &["10.0.0.2"]]);
    bed.up();
    let network = bed.node.network();
    assert_eq!(network.ways_out().unwrap(), [].into());
    let loopback = network.link("lo").unwrap().unwrap();
    assert!(!loopback.is_ethernet);
    for (address, (_, wired)) in ["0.0.0.0", "::"].into_iter().zip(&bed.workloads) {
        let network = bed.node.network();
        assert!(network.link(&wired.name).unwrap().unwrap().is_ethernet);
        network
            .add_route(&Route {
                destination: address.parse().unwrap(),
                prefix: 0,
                interface: wired.interface,
                kind: RouteKind::Direct,
                table: Route::MAIN,
            })
            .unwrap();
    }
    let wires: Vec<u32> = bed.workloads.iter().map(|(_, wired)| wired.interface).collect();
    assert_eq!(bed.node.network().ways_out().unwrap(), wires.into_iter().collect());
}

#[test]
#[ignore = "needs root"]
fn a_watch_reports_what_changes_in_its_namespace() {
    let mut bed = Bed::new(&[]);
    let mut watch = NetworkWatch::of(bed.node.namespace()).unwrap();
    let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
    bed.add("nx1", &["10.0.0.1"]);
    let mut changes = watch.wait().unwrap();
    assert_eq!((&changes.links, &changes.addresses), (&names(&["nx1"]), &None));
    let network = bed.node.network();
    let link = network.link("nx1").unwrap().unwrap();
    network.rename(link.index, "nx2").unwrap();
    network.set_alias(link.index, "mine").unwrap();
    changes = watch.wait().unwrap();
    assert_eq!(changes.links, names(&["nx1", "nx2"]));
    let (own, address) = (watch.addresses(), "192.0.2.1".parse().unwrap());
    network.add_address(link.index, address, 32).unwrap();
    let more: BTreeSet<IpAddr> = own.iter().copied().chain([address]).collect();
    assert_eq!(watch.wait().unwrap().addresses, Some(more));
    network.up(link.index).unwrap();
    let (destination, table) = (IpAddr::from([0, 0, 0, 0]), Route::MAIN);
    let route = Route { destination, prefix: 0, interface: link.index, kind: RouteKind::Direct, table };
    network.add_route(&route).unwrap();
    while !changes.ways_out {
        changes = watch.wait().unwrap();
    }
    network.delete_link("nx2").unwrap();
    while changes.addresses.is_none() {
        changes = watch.wait().unwrap();
    }
    assert_eq!(changes.addresses, Some(own));
}

#[test]
#[ignore = "needs root"]
fn a_watch_that_lost_changes_reports_the_difference() {
    let mut bed = Bed::new(&[]);
    let mut watch = NetworkWatch::of(bed.node.namespace()).unwrap();
    bed.add("nx1", &["10.0.0.1"]);
    let network = bed.node.network();
    let link = network.link("nx1").unwrap().unwrap();
    network.up(link.index).unwrap();
    // More than the kernel keeps.
    for _ in 0..20_000 {
        network.set_alias(link.index, "a").unwrap();
    }
    let address = "192.0.2.1".parse().unwrap();
    network.add_address(link.index, address, 32).unwrap();
    let changes = watch.wait().unwrap();
    assert!(changes.links.contains("nx1") && changes.ways_out, "{changes:?}");
    assert!(changes.addresses.is_some_and(|addresses| addresses.contains(&address)));
}

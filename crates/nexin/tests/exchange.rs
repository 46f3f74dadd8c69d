//! Tests of hostile exchanges through a running proxy with real servers, and of the proxy's privileges.

#[path = "node/bed.rs"]
#[expect(dead_code, reason = "the bed is for other tests as well")]
mod bed;

use api::ApiRequest;
use bed::{Bed, Host, eventually, requests_to_server};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

/// The client may send requests for /public that carry the role of a reader.
const READERS: &str = requests_to_server!(
    "readers",
    "fromEndpoints: [{matchLabels: {app: client}}]",
    r#"{path: "/public", headers: ["X-Role: reader"]}"#
);

const HIDDEN: &str = "GET /private HTTP/1.1\r\nHost: s\r\nX-Role: admin\r\n\r\n";
const PUBLIC: &str = "GET /public HTTP/1.1\r\nHost: s\r\nX-Role: reader\r\n\r\n";
const CLOSING: &str = "GET /public HTTP/1.1\r\nHost: s\r\nX-Role: reader\r\nConnection: close\r\n\r\n";

/// A real server in a workload of its own, and a client that may send requests to it.
struct RealServer {
    server: Host,
    client: Host,
    process: Child,
    directory: PathBuf,
    /// Their node, which lives as long as they do.
    _bed: Bed,
}

impl RealServer {
    fn new(name: &str, program: &str, arguments: &[&str]) -> Self {
        let bed = Bed::new(name);
        let (server, client) = (bed.bare_workload("server"), bed.workload("client"));
        bed.apply(READERS);
        let directory = std::env::temp_dir().join(format!("nexin-exchange-{}-{name}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let log = File::create(directory.join("log")).unwrap();
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        command.current_dir(&directory);
        let process = server.enter(|| command.spawn());
        let process =
            process.unwrap_or_else(|error| panic!("{program} (scripts/peers installs it): {error}"));
        let server = Self { server, client, process, directory, _bed: bed };
        let answers = eventually(|| server.ask(CLOSING).starts_with("HTTP/1.1 200").then_some(()));
        assert!(answers.is_some(), "{program} does not answer: {}", server.log());
        server
    }

    /// Sends the parts with a pause between them, in which the server may respond, and reads to the end.
    fn ask_in_parts(&self, parts: &[&str]) -> String {
        let to = SocketAddr::new(self.server.addresses[0], 80);
        let Some(mut stream) = self.client.stream_to(to) else { return "no connection".into() };
        for (index, part) in parts.iter().enumerate() {
            if index > 0 {
                thread::sleep(Duration::from_millis(200));
            }
            // The proxy may have closed the connection.
            let _ = stream.write_all(part.as_bytes());
        }
        read_all(stream)
    }

    fn ask(&self, request: &str) -> String {
        self.ask_in_parts(&[request])
    }

    /// The output of the server.
    fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap()
    }

    /// Expects that the server has received no denied request.
    #[track_caller]
    fn received_nothing_private(&self) {
        thread::sleep(Duration::from_millis(200));
        let log = self.log();
        assert!(!log.contains("/private") && !log.contains("admin"), "{log}");
    }
}

impl Drop for RealServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn read_all(mut stream: TcpStream) -> String {
    let mut answers = Vec::new();
    // A reset or a timeout ends the response, too; the bytes before it count.
    let _ = stream.read_to_end(&mut answers);
    String::from_utf8_lossy(&answers).into_owned()
}

fn file(name: &str) -> String {
    format!("{}/tests/exchange/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn statuses(answers: &str) -> Vec<&str> {
    answers.split("HTTP/1.1 ").skip(1).filter_map(|answer| answer.get(..3)).collect()
}

/// Checks that every server must pass.
fn check(server: &RealServer) {
    let answers = server.ask(&[PUBLIC, HIDDEN, CLOSING].concat());
    // An HTTP/1.0 server closes the connection after its first response.
    assert!(matches!(&*statuses(&answers), ["200", "403", "200"] | ["200"]), "{answers}");
    for method in ["GET", "DELETE", "OPTIONS", "POST"] {
        let head = format!(
            "{method} /public HTTP/1.1\r\nHost: s\r\nX-Role: reader\r\nContent-Length: {}\r\n\r\n",
            HIDDEN.len()
        );
        if method != "POST" {
            let answers = server.ask(&[&head, HIDDEN, CLOSING].concat());
            assert_eq!(statuses(&answers).len(), 1, "{method}: {answers}");
        }
        server.ask_in_parts(&[&head, HIDDEN, CLOSING]);
        let chunked =
            head.replace(&format!("Content-Length: {}", HIDDEN.len()), "Transfer-Encoding: chunked");
        let chunks = format!("{:x};x=y\r\n{HIDDEN}\r\n0\r\nX-Role: admin\r\n\r\n", HIDDEN.len());
        server.ask(&[&chunked, &chunks, CLOSING].concat());
        server.ask_in_parts(&[&chunked, &chunks, CLOSING]);
    }
    let old = "GET /public HTTP/1.0\r\nX-Role: reader\r\n";
    let answers = server.ask(&[old, "Connection: keep-alive\r\n\r\n", HIDDEN, CLOSING].concat());
    assert_eq!(statuses(&answers), ["200"], "{answers}");
    assert!(!answers.contains("chunked") && !answers.ends_with("0\r\n\r\n"), "{answers}");
    let length = format!("Content-Length: {}\r\n\r\n", HIDDEN.len());
    let answers = server.ask_in_parts(&[&[old, &length].concat(), HIDDEN, CLOSING]);
    assert_eq!(statuses(&answers).len(), 1, "{answers}");
    let answers = server.ask(&[old, "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", HIDDEN].concat());
    assert_eq!(statuses(&answers), ["400"], "{answers}");
    for name in ["X_Role", "X.Role", "x_role"] {
        let fields = format!("X-Role: reader\r\n{name}: admin\r\nConnection: close\r\n");
        let answers = server.ask(&format!("GET /public HTTP/1.1\r\nHost: s\r\n{fields}\r\n"));
        assert_eq!(statuses(&answers), ["400"], "{name}: {answers}");
    }
    for name in ["Content_Length", "Transfer_Encoding", "Content.Length"] {
        let fields = format!("X-Role: reader\r\n{name}: 5\r\nConnection: close\r\n");
        let answers = server.ask(&format!("POST /public HTTP/1.1\r\nHost: s\r\n{fields}\r\n"));
        assert_eq!(statuses(&answers), ["400"], "{name}: {answers}");
    }
    server.received_nothing_private();
}

#[test]
#[ignore = "needs root"]
fn a_server_that_leaves_bodies_unread_receives_no_unjudged_request() {
    let server = RealServer::new("ep", "python3", &[&file("peers.py"), "plain"]);
    check(&server);
    assert!(server.log().contains("GET /public"));
}

#[test]
#[ignore = "needs root"]
fn a_server_that_folds_header_names_receives_the_judged_role() {
    let server = RealServer::new("ew", "python3", &[&file("peers.py"), "wsgi"]);
    check(&server);
    assert!(server.ask(CLOSING).ends_with("reader"));
}

/// nginx always, and Node.js if it is installed.
#[test]
#[ignore = "needs root"]
fn other_servers_receive_no_unjudged_request() {
    let nginx = RealServer::new("en", "nginx", &["-p", ".", "-c", &file("nginx.conf")]);
    check(&nginx);
    assert!(nginx.ask(CLOSING).ends_with("GET /public reader"));
    drop(nginx);
    if Command::new("node").arg("--version").stdout(Stdio::null()).status().is_err() {
        eprintln!("there is no node here, which would be one more");
        return;
    }
    let node = RealServer::new("ej", "node", &[&file("node.js")]);
    check(&node);
    let head = "POST /public HTTP/1.1\r\nHost: s\r\nX-Role: reader\r\nTransfer-Encoding: chunked\r\n\r\n";
    let answers = node.ask(&[head, "5;x=y\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n", CLOSING].concat());
    assert!(answers.contains(r#"["POST","/public","hello",[]]"#), "{answers}");
}

#[test]
#[ignore = "needs root"]
fn events_of_refused_requests_name_both_ends_the_protocol_and_the_reason() {
    let bed = Bed::new("eo");
    let (server, client) = (bed.workload("server"), bed.workload("client"));
    bed.apply(READERS);
    let to = SocketAddr::new(server.addresses[0], 80);
    for (bytes, protocol) in [
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", "HTTP/2"),
        ("GET /public HTTP/1.1\r\n\r\n", "HTTP/1.1"),
        ("\x16\x03\x01\x02\0\x01\0\x01", "TLS"),
    ] {
        let mut stream = client.stream_to(to).unwrap();
        stream.write_all(bytes.as_bytes()).unwrap();
        read_all(stream);
        let seen = eventually(|| {
            let last = ApiRequest::Observe { last: 50, follow: false, filters: Vec::new() };
            let flows = api::Client::connect(&bed.socket()).ok()?.follow::<flow::Flow>(last).ok()?;
            flows.flatten().find(|flow| flow.l7.as_ref().is_some_and(|l7| l7.http.protocol == protocol))
        });
        let json = serde_json::to_value(seen.unwrap_or_else(|| panic!("no event of {protocol}"))).unwrap();
        assert_eq!(json["verdict"], "DROPPED", "{json}");
        for (end, name) in [("source", "client"), ("destination", "server")] {
            assert_eq!(json[end]["pod_name"], name, "{json}");
            assert!(json[end]["identity"].as_u64().unwrap() > 0, "{json}");
        }
        assert!(json["l7"]["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{json}");
    }
}

#[test]
#[ignore = "needs root"]
fn the_proxy_keeps_one_capability_and_the_maps_that_it_reads() {
    let bed = Bed::new("ec");
    let (server, client) = (bed.workload("server"), bed.workload("client"));
    bed.apply(READERS);
    assert_eq!(client.fetch(&server, "/private"), Some(403));
    let status = bed.status();
    let lacks: Vec<_> = status.notes.iter().filter(|note| note.contains("the proxy")).collect();
    assert!(lacks.iter().all(|note| note.starts_with("the proxy runs without Landlock: ")), "{lacks:?}");
    let process = PathBuf::from(format!("/proc/{}", status.proxy.unwrap()));
    for thread in fs::read_dir(process.join("task")).unwrap() {
        let text = fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
        let value =
            |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).unwrap().trim().to_owned();
        assert_eq!(value("CapEff:"), "0000000000001000", "CAP_NET_ADMIN alone");
        assert_eq!(value("CapPrm:"), "0000000000001000");
        assert_eq!([value("CapBnd:"), value("CapInh:"), value("CapAmb:")].concat(), "0".repeat(48));
        assert_eq!((value("NoNewPrivs:"), value("Seccomp:")), ("1".into(), "2".into()));
        assert!(!value("Uid:").split('\t').any(|user| user == "0"), "{text}");
        assert!(!value("Gid:").split('\t').any(|group| group == "0"), "{text}");
        assert_eq!(value("Groups:"), "");
    }
    let mut maps = 0;
    for descriptor in fs::read_dir(process.join("fdinfo")).unwrap() {
        let text = fs::read_to_string(descriptor.unwrap().path()).unwrap_or_default();
        if text.contains("map_id:") {
            maps += 1;
            let flags = text.lines().find_map(|line| line.strip_prefix("flags:")).unwrap().trim();
            assert!(flags.ends_with('0'), "a map that can be written: {text}");
        }
        assert!(!text.contains("prog_id:"), "a program: {text}");
    }
    assert_eq!(maps, 8, "the maps of a policy lookup, and the configuration");
}

/// The server sees the client's port, also a privileged one.
#[test]
#[ignore = "needs root"]
fn a_client_with_a_privileged_port_is_answered() {
    let bed = Bed::new("el");
    let (server, client) = (bed.workload("server"), bed.workload("client"));
    bed.apply(READERS);
    let script = format!(
        "import socket\ns = socket.create_connection(('{}', 80), 3, ('', 700))\ns.sendall({CLOSING:?}.encode())\n\
         print(s.recv(100).decode())",
        server.addresses[0]
    );
    let output = client.enter(|| Command::new("python3").args(["-c", &script]).output()).unwrap();
    let output = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.starts_with("HTTP/1.1 200"), "{output}");
}

/// A policy whose rules need this many times some hundred automaton states at a time.
fn costly(name: &str, count: usize) -> String {
    let rules: Vec<String> =
        (0..count).map(|n| format!("{{path: \"/.*{name}.{{{}}}x\"}}", 100 + n)).collect();
    let rules = format!("[{{path: \"/{name}\"}}, {}]", rules.join(", "));
    READERS
        .replace("name: readers", &format!("name: {name}"))
        .replace("[{path: \"/public\", headers: [\"X-Role: reader\"]}]", &rules)
}

#[test]
#[ignore = "needs root"]
fn rules_that_cost_too_much_are_refused_and_the_earlier_policy_stays_in_force() {
    let bed = Bed::new("ek");
    let (server, client) = (bed.workload("server"), bed.workload("client"));
    bed.write_policy("p.yaml", &costly("watched", 1));
    assert!(eventually(|| (client.fetch(&server, "/none") == Some(403)).then_some(())).is_some());
    let check = |places: &[(&str, u16)]| {
        for (path, status) in places {
            assert_eq!(client.fetch(&server, path), Some(*status), "{path}");
        }
    };
    check(&[("/watched", 200), ("/applied", 403)]);
    // Too much by itself: refused from files and requests alike.
    let error = bed.try_apply(&costly("applied", 60)).unwrap_err().to_string();
    assert!(error.contains("4096 active positions") && error.contains("http["), "{error}");
    bed.write_policy("p.yaml", &costly("other", 60));
    let problems =
        eventually(|| Some(bed.status().problems).filter(|problems| !problems.is_empty())).unwrap();
    assert!(problems[0].contains("4096 active positions"), "{problems:?}");
    check(&[("/watched", 200), ("/applied", 403), ("/other", 403)]);
    // Too much only together with other rules of the same workload and port.
    bed.apply(&costly("applied", 20));
    check(&[("/watched", 200), ("/applied", 200)]);
    let error = bed.try_apply(&costly("more", 20)).unwrap_err().to_string();
    assert!(
        error.contains("4096 active positions") && error.contains("the earlier state stays in force"),
        "{error}"
    );
    check(&[("/watched", 200), ("/applied", 200), ("/more", 403)]);
}

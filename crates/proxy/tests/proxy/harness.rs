//! A proxy under test with its policy, its recorder of events, a scripted server, and clients.

use l7::{HttpRule, Matcher};
use proxy::{
    AppliedRuleSet, Events, Occupancy, ProxiedFlow, Proxy, ProxyConfig, ProxyNetwork, RequestEvent,
    RequestPolicy, Rules,
};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak, mpsc};
use std::task::Waker;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Time-out of each step of a test.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A policy that tests can change: one rule set for each direction, or none.
#[derive(Default)]
pub(crate) struct TestPolicy {
    generation: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    known: bool,
    egress: Option<Arc<Matcher>>,
    ingress: Option<Arc<Matcher>>,
    /// How often another workload got the server's address.
    successors: u32,
    /// True where flows refer to unknown rule sets.
    forgetful: bool,
    /// True while rules are loading.
    late: bool,
    wakers: Vec<Waker>,
}

pub(crate) const EGRESS: AppliedRuleSet =
    AppliedRuleSet { set: 1, rule: 11, direction: abi::policy::Direction::Egress };
pub(crate) const INGRESS: AppliedRuleSet =
    AppliedRuleSet { set: 2, rule: 22, direction: abi::policy::Direction::Ingress };

impl TestPolicy {
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().expect("no test panics with it"));
        self.generation.fetch_add(1, Ordering::SeqCst);
    }

    /// Returns a weak reference, which tells whether a connection still uses these rules.
    pub(crate) fn ingress(&self, rules: &[HttpRule]) -> Weak<Matcher> {
        let matcher = Arc::new(Matcher::new(rules).expect("the rules of tests compile"));
        let weak = Arc::downgrade(&matcher);
        self.change(|state| (state.known, state.ingress) = (true, Some(matcher)));
        weak
    }

    pub(crate) fn egress(&self, rules: &[HttpRule]) {
        let matcher = Arc::new(Matcher::new(rules).expect("the rules of tests compile"));
        self.change(|state| (state.known, state.egress) = (true, Some(matcher)));
    }

    pub(crate) fn no_rules(&self) {
        self.change(|state| *state = State { known: true, ..State::default() });
    }

    pub(crate) fn unknown_flow(&self) {
        self.change(|state| state.known = false);
    }

    /// Gives the server's address to another workload.
    pub(crate) fn server_is_replaced(&self) {
        self.change(|state| state.successors += 1);
    }

    pub(crate) fn unknown_sets(&self) {
        self.change(|state| state.forgetful = true);
    }

    /// Rules stay in the state of loading until [`Self::rules_come`].
    pub(crate) fn rules_are_late(&self) {
        self.change(|state| state.late = true);
    }

    pub(crate) fn rules_come(&self) {
        let mut state = self.state.lock().expect("no test panics with it");
        state.late = false;
        state.wakers.drain(..).for_each(Waker::wake);
    }
}

impl RequestPolicy for TestPolicy {
    fn flow(&self, _client: SocketAddr, _server: SocketAddr) -> Option<ProxiedFlow> {
        let state = self.state.lock().expect("no test panics with it");
        let mut applied = Vec::new();
        applied.extend(state.egress.is_some().then_some(EGRESS));
        applied.extend(state.ingress.is_some().then_some(INGRESS));
        let workloads = (1, 2 + state.successors);
        state.known.then_some(ProxiedFlow {
            source_identity: 256,
            destination_identity: 257,
            workloads,
            applied,
        })
    }

    fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    fn rules(&self, set: u32) -> Rules {
        let state = self.state.lock().expect("no test panics with it");
        let rules = if set == EGRESS.set { &state.egress } else { &state.ingress };
        match rules.clone().filter(|_| !state.forgetful) {
            _ if state.late => Rules::Loading,
            Some(rules) => Rules::Ready(rules),
            None => Rules::Unknown,
        }
    }

    fn wake_when_rules_load(&self, waker: &Waker) {
        self.state.lock().expect("no test panics with it").wakers.push(waker.clone());
    }
}

/// Passes events to the test.
struct Recorder(mpsc::Sender<RequestEvent<'static>>);

impl Events for Recorder {
    fn report(&self, event: &RequestEvent<'_>) {
        // A test may end before its connections do.
        let _ = self.0.send(event.clone().into_owned());
    }
}

/// A network in which all connections have the same destination, and keep their real source.
struct Fixed(SocketAddr);

impl ProxyNetwork for Fixed {
    fn destination(&self, _accepted: &tokio::net::TcpStream) -> io::Result<SocketAddr> {
        Ok(self.0)
    }

    fn socket(&self, _client: SocketAddr, _server: SocketAddr) -> io::Result<tokio::net::TcpSocket> {
        tokio::net::TcpSocket::new_v4()
    }
}

/// A proxy for connections to one address.
pub(crate) struct TestProxy {
    pub(crate) policy: Arc<TestPolicy>,
    pub(crate) server: SocketAddr,
    events: mpsc::Receiver<RequestEvent<'static>>,
    address: SocketAddr,
    proxy: Proxy,
}

/// A server that follows these scripts, the proxy before it, and a client of the proxy.
pub(crate) fn connected(scripts: Vec<Vec<ScriptStep>>) -> (Server, TestProxy, Client) {
    let server = Server::new(scripts);
    let proxy = TestProxy::new(server.address);
    let client = proxy.connect();
    (server, proxy, client)
}

impl TestProxy {
    /// A proxy for this server, whose ingress policy allows `GET` and `POST` under `/public`.
    pub(crate) fn new(server: SocketAddr) -> Self {
        Self::with(server, quick())
    }

    pub(crate) fn with(server: SocketAddr, config: ProxyConfig) -> Self {
        let policy = Arc::new(TestPolicy::default());
        policy.ingress(&[rule("GET|POST|HEAD", "/public.*")]);
        let (sender, events) = mpsc::channel();
        let proxy = Proxy::new(config, policy.clone(), Arc::new(Fixed(server)));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has free ports");
        listener.set_nonblocking(true).expect("sockets can be non-blocking");
        let address = listener.local_addr().expect("it is bound");
        let serving = proxy.clone();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("a runtime can be made");
            let watching = serving.clone();
            runtime.spawn(async move { watching.watch_policy().await });
            runtime
                .block_on(serving.serve(listener, Arc::new(Recorder(sender))))
                .expect("it serves for ever");
        });
        Self { policy, server, events, address, proxy }
    }

    pub(crate) fn connect(&self) -> Client {
        Client::new(self.address)
    }

    pub(crate) fn occupancy(&self) -> Occupancy {
        self.proxy.occupancy()
    }

    /// Waits until a connection has a slot.
    #[track_caller]
    pub(crate) fn wait_until_taken(&self) {
        let began = Instant::now();
        while self.occupancy().in_use == 0 {
            assert!(began.elapsed() < PATIENCE, "{:?}", self.occupancy());
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until no connection has a slot; returns how long that took.
    #[track_caller]
    pub(crate) fn wait_until_free(&self) -> Duration {
        let began = Instant::now();
        while self.occupancy().in_use > 0 {
            assert!(began.elapsed() < PATIENCE, "{:?}", self.occupancy());
            thread::sleep(Duration::from_millis(2));
        }
        began.elapsed()
    }

    /// The next event.
    #[track_caller]
    pub(crate) fn event(&self) -> RequestEvent<'static> {
        self.events.recv_timeout(PATIENCE).expect("each request makes an event")
    }

    /// Asserts that no event is waiting.
    #[track_caller]
    pub(crate) fn no_event(&self) {
        assert_eq!(self.events.try_recv().ok(), None);
    }
}

/// Short time-outs, so that tests of them end soon.
pub(crate) fn quick() -> ProxyConfig {
    ProxyConfig {
        head_timeout: Duration::from_millis(300),
        idle_timeout: Duration::from_millis(600),
        first_byte_timeout: Duration::from_millis(600),
        stall_timeout: Duration::from_secs(5),
        half_close_timeout: Duration::from_millis(500),
        connect_timeout: Duration::from_secs(2),
        linger_timeout: Duration::from_millis(300),
        policy_interval: Duration::from_millis(20),
        slot_timeout: Duration::from_millis(300),
        discard_limit: 64 * 1024,
        max_connections: 100,
        ..ProxyConfig::default()
    }
}

pub(crate) fn rule(method: &str, path: &str) -> HttpRule {
    HttpRule { method: Some(method.to_owned()), path: Some(path.to_owned()), ..HttpRule::default() }
}

/// A client that sends and receives exact bytes.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
}

impl Client {
    fn new(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the proxy listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
        stream.set_write_timeout(Some(PATIENCE)).expect("not zero");
        Self { stream }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("the proxy reads");
    }

    /// Reads as many bytes as these and compares.
    #[track_caller]
    pub(crate) fn expect(&mut self, expected: impl AsRef<[u8]>) {
        let expected = expected.as_ref();
        let mut found = vec![0; expected.len()];
        let mut filled = 0;
        while filled < found.len() {
            match self.stream.read(&mut found[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&found[..filled])),
            }
        }
        assert_eq!(String::from_utf8_lossy(&found[..filled]), String::from_utf8_lossy(expected));
    }

    /// Reads a head and returns its status.
    #[track_caller]
    pub(crate) fn status(&mut self) -> u16 {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            assert_eq!(
                self.stream.read(&mut byte).expect("an answer"),
                1,
                "{:?}",
                String::from_utf8_lossy(&head)
            );
            head.push(byte[0]);
        }
        String::from_utf8_lossy(&head)[9..12].parse().expect("a status")
    }

    /// Reads to the end; a reset counts as an end.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "the proxy must close"),
        }
        rest
    }

    #[track_caller]
    pub(crate) fn expect_end(&mut self) {
        let rest = self.rest();
        assert_eq!(String::from_utf8_lossy(&rest), "");
    }
}

/// A step of a scripted server.
pub(crate) enum ScriptStep {
    /// Reads until the bytes since the last such step end with this text.
    Hear(&'static str),
    /// Reads to the end of the connection; a reset counts as an end.
    End,
    /// Reads this many bytes and discards them.
    Swallow(usize),
    Say(Vec<u8>),
    /// Sleeps.
    Wait(Duration),
    /// Closes with a reset.
    Reset,
}

pub(crate) fn receive(end: &'static str) -> ScriptStep {
    ScriptStep::Hear(end)
}

pub(crate) fn say(bytes: impl AsRef<[u8]>) -> ScriptStep {
    ScriptStep::Say(bytes.as_ref().to_vec())
}

/// A server that follows one script for each connection, in order, and then closes.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    thread: JoinHandle<Vec<String>>,
}

impl Server {
    pub(crate) fn new(scripts: Vec<Vec<ScriptStep>>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has free ports");
        let address = listener.local_addr().expect("it is bound");
        let thread = thread::spawn(move || {
            scripts
                .into_iter()
                .map(|script| follow(listener.accept().expect("a connection").0, script))
                .collect()
        });
        Self { address, thread }
    }

    /// Waits until all scripts have ended; returns all bytes that each connection received up to its end.
    #[track_caller]
    pub(crate) fn received(self) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        while !self.thread.is_finished() {
            assert!(Instant::now() < deadline, "the server still waits for something");
            thread::sleep(Duration::from_millis(2));
        }
        self.thread.join().expect("the script was followed")
    }
}

fn follow(mut stream: TcpStream, script: Vec<ScriptStep>) -> String {
    stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
    let mut received = Vec::new();
    for step in script {
        match step {
            ScriptStep::Hear(end) => receive_until(&mut stream, end, &mut received),
            ScriptStep::Swallow(count) => {
                let mut taken = io::Read::by_ref(&mut stream).take(count as u64);
                assert_eq!(io::copy(&mut taken, &mut io::sink()).expect("bytes"), count as u64);
            }
            // The test expects some clients to break the connection.
            ScriptStep::End => drop(stream.read_to_end(&mut received)),
            ScriptStep::Say(bytes) => drop(stream.write_all(&bytes)),
            ScriptStep::Wait(time) => thread::sleep(time),
            ScriptStep::Reset => {
                socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("a socket lingers");
                return String::from_utf8_lossy(&received).into_owned();
            }
        }
    }
    String::from_utf8_lossy(&received).into_owned()
}

fn receive_until(stream: &mut TcpStream, end: &str, received: &mut Vec<u8>) {
    let from = received.len();
    let mut byte = [0];
    while !received[from..].ends_with(end.as_bytes()) {
        match stream.read(&mut byte) {
            Ok(1) => received.push(byte[0]),
            other => {
                panic!("{other:?} instead of {end:?} after {:?}", String::from_utf8_lossy(&received[from..]))
            }
        }
    }
}

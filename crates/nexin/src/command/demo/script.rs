//! What the demo does, as data: scenes, what is typed in them, and what must come of it.

/// A few steps with one point.
#[derive(Debug)]
pub(super) struct Scene {
    /// The point.
    pub(super) title: &'static str,
    /// The steps, in order.
    pub(super) actions: &'static [Action],
}

/// One step.
#[derive(Debug)]
pub(super) enum Action {
    /// A command of Nexin's that must succeed; the words after `nexin`.
    Nexin(&'static [&'static str]),
    /// A request to the service.
    Fetch {
        /// The workload that asks.
        from: &'static str,
        /// What it asks for.
        path: &'static str,
        /// What must come of it.
        expect: Expect,
    },
}

/// What must come of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expect {
    /// This body, with status 200.
    Body(&'static str),
    /// The connection stands, and the request is refused.
    Denied,
    /// There is no connection at all.
    Silence,
}

/// What the service is asked by.
pub(super) const SERVICE: &str = "app1-service";
/// One of the workloads behind the service, for asking what policy says of it.
pub(super) const BACKEND: &str = "app1-a";
/// Seconds to wait for an answer that must come.
pub(super) const PATIENCE: &str = "5";
/// Seconds to wait for an answer that must not come.
pub(super) const IMPATIENCE: &str = "0.6";

/// What app1 answers.
pub(super) const PUBLIC: &str = "{ 'val': 'this is public' }";
/// What app1 answers where it should not be asked.
pub(super) const PRIVATE: &str = "{ 'val': 'this is private' }";
/// What is answered in its place to a request that policy refuses.
pub(super) const REFUSAL: &str = "Access denied\r\n";

/// The files that the commands name.
pub(super) const FILES: &[(&str, &str)] = &[
    ("service.yaml", include_str!("../../../../../examples/tutorial/service.yaml")),
    ("rule1.yaml", include_str!("../../../../../examples/tutorial/rule1.yaml")),
];

/// The words that start a workload.
macro_rules! start {
    ($name:literal, $label:literal, $($word:literal),+) => {
        ["run", "--detach", "--name", $name, "--label", $label, "--", $($word),+]
    };
}
/// The tutorial.
pub(super) const SCENES: &[Scene] = &[
    Scene {
        title: "Four workloads, each in a network namespace of its own, and a service address for app1",
        actions: &[
            Action::Nexin(&["policy", "apply", "-f", "service.yaml"]),
            Action::Nexin(&start!("app1-a", "id=app1", "nexin", "demo-server")),
            Action::Nexin(&start!("app1-b", "id=app1", "nexin", "demo-server")),
            Action::Nexin(&start!("app2", "id=app2", "sleep", "infinity")),
            Action::Nexin(&start!("app3", "id=app3", "sleep", "infinity")),
            Action::Nexin(&["service", "list"]),
        ],
    },
    Scene {
        title: "No policy: everyone may ask app1 for everything",
        actions: &[
            Action::Fetch { from: "app2", path: "/public", expect: Expect::Body(PUBLIC) },
            Action::Fetch { from: "app2", path: "/private", expect: Expect::Body(PRIVATE) },
            Action::Fetch { from: "app3", path: "/public", expect: Expect::Body(PUBLIC) },
            Action::Fetch { from: "app3", path: "/private", expect: Expect::Body(PRIVATE) },
        ],
    },
    Scene {
        title: "The policy: only app2 may reach app1, and only with GET /public",
        actions: &[Action::Nexin(&["policy", "apply", "-f", "rule1.yaml"])],
    },
    Scene {
        title: "app2 gets what is public and is told off for the rest; app3 gets no connection",
        actions: &[
            Action::Fetch { from: "app2", path: "/public", expect: Expect::Body(PUBLIC) },
            Action::Fetch { from: "app2", path: "/private", expect: Expect::Denied },
            Action::Fetch { from: "app3", path: "/public", expect: Expect::Silence },
        ],
    },
    Scene {
        title: "What the kernel and the proxy saw of that",
        actions: &[Action::Nexin(&["observe", "--to-port", "80", "--last", "12"])],
    },
];

impl Expect {
    /// The verdict in the words of a PolicyTest file.
    pub(super) fn verdict(self) -> &'static str {
        match self {
            Self::Body(_) => "allow",
            Self::Denied => "deny",
            Self::Silence => "drop",
        }
    }

    /// How long to wait for it, in seconds.
    pub(super) fn patience(self) -> &'static str {
        if self == Self::Silence { IMPATIENCE } else { PATIENCE }
    }
}

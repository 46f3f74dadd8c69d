//! The demo's script: scenes, their command lines and the expected results.

/// A group of steps with a title.
#[derive(Debug)]
pub(super) struct Scene {
    /// Its title.
    pub(super) title: &'static str,
    /// Its steps, in order.
    pub(super) actions: &'static [ScriptAction],
}

/// One step.
#[derive(Debug)]
pub(super) enum ScriptAction {
    /// A command that must succeed; its first word is the program.
    Command(&'static [&'static str]),
    /// A request to the service.
    Fetch {
        /// The client.
        from: &'static str,
        /// The path.
        path: &'static str,
        /// The expected result.
        expect: ExpectedResponse,
    },
}

/// The expected result of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ExpectedResponse {
    /// Status 200 with this body.
    Body(&'static str),
    /// The connection is established, and the request is denied.
    Denied,
    /// The connection is dropped.
    Silence,
}

/// The service's name.
pub(super) const SERVICE: &str = "app1-service";
/// Timeout of a request that must be answered, in seconds.
pub(super) const PATIENCE: &str = "5";
/// Timeout of a request that must not be answered, in seconds.
pub(super) const IMPATIENCE: &str = "0.6";

/// The public response of app1.
pub(super) const PUBLIC: &str = "{ 'val': 'this is public' }";
/// The private response of app1.
pub(super) const PRIVATE: &str = "{ 'val': 'this is private' }";
/// The body of the proxy's response to a denied request.
pub(super) const REFUSAL: &str = "Access denied\r\n";

/// The policy of the tutorial, and its file.
pub(super) const POLICY: (&str, &str) =
    ("rule1.yaml", include_str!("../../../../../examples/tutorial/rule1.yaml"));
/// The files that the commands on a node use.
pub(super) const FILES: &[(&str, &str)] =
    &[("service.yaml", include_str!("../../../../../examples/tutorial/service.yaml")), POLICY];

/// The words of the command that runs a workload.
macro_rules! start {
    ($name:literal, $label:literal, $($word:literal),+) => {
        ["nexin", "run", "--detach", "--name", $name, "--label", $label, "--", $($word),+]
    };
}
/// Any request that the tutorial sends while there is no policy.
pub(super) const OPEN: &[ScriptAction] = &[
    ScriptAction::Fetch { from: "app2", path: "/public", expect: ExpectedResponse::Body(PUBLIC) },
    ScriptAction::Fetch { from: "app2", path: "/private", expect: ExpectedResponse::Body(PRIVATE) },
    ScriptAction::Fetch { from: "app3", path: "/public", expect: ExpectedResponse::Body(PUBLIC) },
    ScriptAction::Fetch { from: "app3", path: "/private", expect: ExpectedResponse::Body(PRIVATE) },
];
/// The requests under the policy.
pub(super) const UNDER_POLICY: &[ScriptAction] = &[
    ScriptAction::Fetch { from: "app2", path: "/public", expect: ExpectedResponse::Body(PUBLIC) },
    ScriptAction::Fetch { from: "app2", path: "/private", expect: ExpectedResponse::Denied },
    ScriptAction::Fetch { from: "app3", path: "/public", expect: ExpectedResponse::Silence },
];
/// The title of the requests without a policy.
pub(super) const OPEN_TITLE: &str = "No policy: every workload may send any request to app1";
/// The title of the change.
pub(super) const POLICY_TITLE: &str = "The policy: only app2 may connect to app1, and may only GET /public";
/// The title of the requests under it.
pub(super) const UNDER_POLICY_TITLE: &str =
    "app2 may GET /public, and every other request gets 403; app3 cannot connect";

/// The tutorial on a node.
pub(super) const SCENES: &[Scene] = &[
    Scene {
        title: "Four workloads, each in a network namespace of its own, and a service address for app1",
        actions: &[
            ScriptAction::Command(&["nexin", "policy", "apply", "-f", "service.yaml"]),
            ScriptAction::Command(&start!("app1-a", "id=app1", "nexin", "demo-server")),
            ScriptAction::Command(&start!("app1-b", "id=app1", "nexin", "demo-server")),
            ScriptAction::Command(&start!("app2", "id=app2", "sleep", "infinity")),
            ScriptAction::Command(&start!("app3", "id=app3", "sleep", "infinity")),
            ScriptAction::Command(&["nexin", "service", "list"]),
        ],
    },
    Scene { title: OPEN_TITLE, actions: OPEN },
    Scene {
        title: POLICY_TITLE,
        actions: &[ScriptAction::Command(&["nexin", "policy", "apply", "-f", "rule1.yaml"])],
    },
    Scene { title: UNDER_POLICY_TITLE, actions: UNDER_POLICY },
    Scene {
        title: "The flows that the kernel and the proxy reported",
        actions: &[ScriptAction::Command(&["nexin", "observe", "--to-port", "80", "--last", "12"])],
    },
];

impl ExpectedResponse {
    /// The verdict, as PolicyTest files name it.
    pub(super) fn verdict(self) -> &'static str {
        match self {
            Self::Body(_) => "allow",
            Self::Denied => "deny",
            Self::Silence => "drop",
        }
    }

    /// The timeout in seconds.
    pub(super) fn patience(self) -> &'static str {
        if self == Self::Silence { IMPATIENCE } else { PATIENCE }
    }
}

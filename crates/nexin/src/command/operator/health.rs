//! `/healthz` and `/metrics` of the operator, on a thread of its own.

use super::http::{self, Answer};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// How long a client may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The state that metrics show.
#[derive(Debug, Default)]
pub(super) struct OperatorHealth {
    leads: AtomicBool,
    pub(super) identities: AtomicU64,
    pub(super) unused_identities: AtomicU64,
    pub(super) label_sets_without_identity: AtomicU64,
    pub(super) nodes_without_block: AtomicU64,
    pub(super) writes: AtomicU64,
    pub(super) failed_writes: AtomicU64,
    pub(super) reviews: AtomicU64,
    pub(super) refused_reviews: AtomicU64,
}

impl OperatorHealth {
    /// Sets whether this operator leads.
    pub(super) fn leads(&self, leads: bool) {
        self.leads.store(leads, Ordering::Relaxed);
    }

    /// The metrics in the text form of Prometheus.
    fn metrics(&self) -> String {
        let gauge = |name: &str, help: &str, value: u64| metric(name, help, "gauge", value);
        let counter = |name: &str, help: &str, value: &AtomicU64| {
            metric(name, help, "counter", value.load(Ordering::Relaxed))
        };
        let now = |value: &AtomicU64| value.load(Ordering::Relaxed);
        [
            gauge("leader", "Whether this operator leads.", u64::from(self.leads.load(Ordering::Relaxed))),
            gauge("identities", "CiliumIdentities.", now(&self.identities)),
            gauge("unused_identities", "CiliumIdentities that nothing uses.", now(&self.unused_identities)),
            gauge(
                "label_sets_without_identity",
                "Sets of labels of pods that have no CiliumIdentity.",
                now(&self.label_sets_without_identity),
            ),
            gauge(
                "nodes_without_block",
                "Nodes without a block of addresses.",
                now(&self.nodes_without_block),
            ),
            counter("writes_total", "Writes of identities and blocks.", &self.writes),
            counter("failed_writes_total", "Writes that failed.", &self.failed_writes),
            counter("reviews_total", "Reviewed policies.", &self.reviews),
            counter("refused_reviews_total", "Reviewed policies that were refused.", &self.refused_reviews),
        ]
        .concat()
    }
}

fn metric(name: &str, help: &str, kind: &str, value: u64) -> String {
    format!(
        "# HELP nexin_operator_{name} {help}\n# TYPE nexin_operator_{name} {kind}\nnexin_operator_{name} {value}\n"
    )
}

/// Serves on the loopback address until the process ends.
pub(super) fn serve(port: u16, health: Arc<OperatorHealth>) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    thread::Builder::new().name("health".into()).spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { continue };
            let _ = stream.set_read_timeout(Some(PATIENCE));
            let _ = stream.set_write_timeout(Some(PATIENCE));
            let answer = |path: &str, _: &[u8]| match path {
                "/healthz" => Answer::text("ok\n".into()),
                "/metrics" => Answer::text(health.metrics()),
                _ => Answer::absent(),
            };
            // One exchange a connection: a client that keeps it open must not keep others out.
            let _ = http::serve_one(&mut &stream, &answer);
        }
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_have_the_form_of_prometheus() {
        let health = OperatorHealth::default();
        health.leads(true);
        health.reviews.fetch_add(3, Ordering::Relaxed);
        let text = health.metrics();
        assert!(text.starts_with("# HELP nexin_operator_leader Whether this operator leads.\n"));
        assert!(text.contains("\nnexin_operator_leader 1\n"));
        assert!(
            text.contains("# TYPE nexin_operator_reviews_total counter\nnexin_operator_reviews_total 3\n")
        );
    }
}

//! Answers queries on the client's own thread, from what is published: no query waits for a change.

use crate::answer::{Answer, internal, value};
use crate::command::{AttachmentCommand, Command, Query};
use crate::explain;
use crate::node_pods::NodePods;
use crate::pod_lookup;
use crate::published::Publication;
use crate::status::{self, StatusParts};
use crate::views;
use api::{AttachmentReadiness, Failure, PodIdentifier};

/// Where the answers to queries come from.
#[derive(Debug)]
pub(crate) struct Reader {
    publication: Publication,
    parts: StatusParts,
    pods: NodePods,
}

impl Reader {
    /// Answers from what this publication publishes.
    pub(crate) fn new(publication: Publication, parts: StatusParts, pods: NodePods) -> Self {
        Self { publication, parts, pods }
    }

    /// Completes a command by what is known of its pod; waits for the pod if that is not known yet.
    pub(crate) fn complete(&self, command: &mut Command) -> Result<(), Failure> {
        match command {
            Command::Attachment(AttachmentCommand::Attach { spec, times }) => {
                let completed = pod_lookup::complete(spec, &self.pods);
                times.end("pod");
                completed
            }
            _ => Ok(()),
        }
    }

    /// Reports that a pod could not be attached.
    pub(crate) fn report_failure(&self, pod: PodIdentifier, failure: &Failure) {
        self.pods.report_failure(pod, failure.messages.join("; "));
    }

    /// Answers a query.
    pub(crate) fn answer(&self, query: &Query) -> Answer {
        let published = self.publication.current();
        match query {
            Query::Status => value(&status::status(&published, &self.parts).map_err(internal)?),
            Query::Endpoints => value(&views::endpoints(&published)),
            Query::Identities => value(&views::identities(&published.world)),
            Query::Services => value(&views::services(&published.world)),
            Query::Policies => value(&views::policies(&published)),
            Query::Rules => value(&views::rules(&published.world)),
            Query::Readiness => value(&AttachmentReadiness { reasons: published.unready.clone() }),
            Query::Explain(probe) => value(&explain::explain(&published.world, probe)?),
        }
    }
}

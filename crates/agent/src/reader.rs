//! Answers queries on the client's own thread, from what is published: no query waits for a change.

use crate::answer::{Answer, internal, value};
use crate::command::Query;
use crate::explain;
use crate::published::Publication;
use crate::status::{self, StatusParts};
use crate::views;

/// Where the answers to queries come from.
#[derive(Debug)]
pub(crate) struct Reader {
    publication: Publication,
    parts: StatusParts,
}

impl Reader {
    /// Answers from what this publication publishes.
    pub(crate) fn new(publication: Publication, parts: StatusParts) -> Self {
        Self { publication, parts }
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
            Query::Explain(probe) => value(&explain::explain(&published.world, probe)?),
        }
    }
}

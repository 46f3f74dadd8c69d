//! Reads the objects of a cluster once, for a command that a person runs.

use crate::connection::{ConnectionError, UserConnection};
use crate::failure::{Failure, FailureCause};
use crate::kind::WatchedKind;
use crate::load::Load;
use crate::object::ResourceName;
use crate::request::Endpoint;
use std::io;
use thiserror::Error;

/// An object of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterObject {
    /// Its kind.
    pub kind: &'static str,
    /// Its name.
    pub name: ResourceName,
    /// Its JSON text, reduced to the fields of the kind.
    pub text: String,
}

/// Why the objects of a cluster are not known.
#[derive(Debug, Error)]
pub enum SnapshotError {
    /// There is no client of the API server.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// A request failed.
    #[error("{plural} cannot be read from the API server: {why}")]
    Request {
        /// The kind, as in paths.
        plural: &'static str,
        /// Why.
        why: String,
    },
    /// The client could not start.
    #[error("the client of the API server cannot start: {0}")]
    Runtime(#[from] io::Error),
}

/// Reads all objects of the kinds; a kind that the API server does not serve has none. Waits for at most half a minute for each
/// answer.
pub fn snapshot(
    connection: &UserConnection,
    kinds: Vec<WatchedKind>,
) -> Result<Vec<ClusterObject>, SnapshotError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = connection.client().await?;
        let mut objects = Vec::new();
        for kind in kinds {
            let endpoint = Endpoint { client: client.clone(), kind, load: Load::default() };
            let (kind, plural) = (endpoint.kind.kind, endpoint.kind.plural);
            let of_kind = read_kind(&endpoint).await;
            let of_kind = of_kind.map_err(|failure| SnapshotError::Request { plural, why: failure.why })?;
            objects.extend(of_kind.into_iter().map(|(name, text)| ClusterObject { kind, name, text }));
        }
        Ok(objects)
    })
}

/// The objects in the first version that is served.
async fn read_kind(endpoint: &Endpoint) -> Result<Vec<(ResourceName, String)>, Failure> {
    for version in 0..endpoint.kind.versions.len() {
        match read_version(endpoint, version).await {
            Err(failure) if failure.cause == FailureCause::NotServed => {}
            read => return read,
        }
    }
    Ok(Vec::new())
}

async fn read_version(endpoint: &Endpoint, version: usize) -> Result<Vec<(ResourceName, String)>, Failure> {
    let (mut objects, mut rest) = (Vec::new(), None);
    loop {
        let page = endpoint.page(version, rest.as_deref(), true).await?;
        objects.extend(page.objects.into_iter().map(|object| (object.name, object.text)));
        rest = page.rest;
        if rest.is_none() {
            return Ok(objects);
        }
    }
}

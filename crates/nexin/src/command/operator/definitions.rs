//! Installs and updates the definitions of custom resources.

use anyhow::Context;
use delivery::{DefinitionStep, RESOURCES};
use kubernetes::{Client, ObjectRequest, RequestError, exchange};

const COLLECTION: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
/// The name under which the API server records which fields are the operator's.
pub(super) const WRITER: &str = "nexin-operator";

/// Installs what is missing, and updates what an earlier release installed.
pub(super) async fn install(client: &Client) -> anyhow::Result<()> {
    for resource in RESOURCES {
        let path = format!("{COLLECTION}/{}", resource.definition_name());
        let installed = match exchange(client, &path, ObjectRequest::Read).await {
            Ok(object) => Some(object),
            Err(error) if error.is_absent() => None,
            Err(error) => return Err(error).context("a definition could not be read"),
        };
        let written = match resource.step(installed.as_ref()) {
            DefinitionStep::Keep(reason) => {
                tracing::info!("customresourcedefinition/{} kept: {reason}", resource.definition_name());
                continue;
            }
            DefinitionStep::Create => {
                exchange(client, COLLECTION, ObjectRequest::Create(&resource.definition())).await
            }
            DefinitionStep::Update => {
                exchange(client, &path, ObjectRequest::Apply(&resource.definition(), WRITER)).await
            }
        };
        // Another operator was faster.
        let is_done = |error: &RequestError| error.is_conflict();
        if let Err(error) = written.as_ref()
            && !is_done(error)
        {
            return Err(error.clone()).context("a definition could not be written");
        }
        tracing::info!("customresourcedefinition/{} installed", resource.definition_name());
    }
    Ok(())
}

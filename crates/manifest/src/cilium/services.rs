//! Services as peers: by name, or by labels.

use super::scope::Scope;
use crate::item::{Item, Nulls};
use crate::name;
use crate::selector::{Keys, ParsedSelector};
use policy::rule::ServiceRef;

/// Reads `{k8sService}` or `{k8sServiceSelector}`.
pub(super) fn read(item: &Item<'_>, scope: &Scope) -> Option<ServiceRef> {
    let mut fields = item.fields(Nulls::Refused)?;
    let (named, labelled) = (fields.take("k8sService"), fields.take("k8sServiceSelector"));
    fields.finish();
    match (named, labelled) {
        (Some(named), None) => self::named(&named, scope),
        (None, Some(labelled)) => self::labelled(&labelled),
        _ => {
            item.error("needs exactly one of `k8sService` and `k8sServiceSelector`");
            None
        }
    }
}

/// Reads `{serviceName, namespace}`.
fn named(item: &Item<'_>, scope: &Scope) -> Option<ServiceRef> {
    let mut fields = item.fields(Nulls::Refused)?;
    let (service, namespace) = (fields.require("serviceName"), fields.take("namespace"));
    fields.finish();
    let service = service.and_then(|item| name::object(&item));
    let namespace = match (namespace, scope) {
        (Some(namespace), _) => name::namespace(&namespace),
        (None, Scope::Namespace(own)) => {
            // Cilium selects the services of this name in all namespaces, which is hardly meant.
            item.warn(format!(
                "has no `namespace`; it refers to the service in the policy's own namespace, {own}, is meant"
            ));
            Some(own.clone())
        }
        (None, Scope::Workloads | Scope::Unbounded) => {
            item.error(
                "`namespace` is missing; a cluster-scoped policy must name the namespace of the service",
            );
            None
        }
    };
    Some(ServiceRef::Named { namespace: namespace?.into(), name: service?.into() })
}

/// Reads `{selector, namespace}`; without a namespace the selector applies to all namespaces.
fn labelled(item: &Item<'_>) -> Option<ServiceRef> {
    let mut fields = item.fields(Nulls::Refused)?;
    let (selector, namespace) = (fields.require("selector"), fields.take("namespace"));
    fields.finish();
    let namespace = match namespace {
        Some(namespace) => Some(name::namespace(&namespace)?.into()),
        None => None,
    };
    let selector = ParsedSelector::read(&selector?, Keys::Sourced).into_selector();
    Some(ServiceRef::Labelled { namespace, selector })
}

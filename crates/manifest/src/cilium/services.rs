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
            // Cilium takes the services of this name in all namespaces; nobody means that.
            item.warn(format!("names no namespace; the service of the policy's own, {own}, is meant"));
            Some(own.clone())
        }
        (None, Scope::Workloads | Scope::Unbounded) => {
            item.error("`namespace` is missing; the policy is in none, so say which service is meant");
            None
        }
    };
    Some(ServiceRef::Named { namespace: namespace?.into(), name: service?.into() })
}

/// Reads `{selector, namespace}`; without a namespace, services of all namespaces are meant.
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

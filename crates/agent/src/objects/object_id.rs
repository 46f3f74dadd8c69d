//! The names of objects, and the changes of the world that add and remove them.

use control::{Change, RemoteNode};
use manifest::{CidrGroup, Endpoints, NodeObject, Object};
use policy::rule::{PolicyId, PolicyKind};
use std::fmt;
use std::sync::Arc;

/// The name of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ObjectId {
    /// A policy.
    Policy(PolicyId),
    /// A service, by namespace and name.
    Service(String, String),
    /// A namespace.
    Namespace(String),
    /// The listed addresses of a service: its namespace, its name, and the EndpointSlice's name if there is one.
    Endpoints(String, String, Option<String>),
    /// A CIDR group.
    CidrGroup(String),
    /// A node.
    Node(String),
}

/// An object and its name.
pub(crate) type Named = (ObjectId, Arc<Object>);

impl ObjectId {
    /// The name of an object; none for workloads, which are started and not applied.
    pub(crate) fn from_object(object: &Object) -> Option<Self> {
        match object {
            Object::Policy(policy) => Some(Self::Policy(policy.id.clone())),
            Object::Service(service) => Some(Self::Service(service.namespace.clone(), service.name.clone())),
            Object::Namespace(namespace) => Some(Self::Namespace(namespace.name.clone())),
            Object::Endpoints(Endpoints { namespace, service, slice_name, .. }) => {
                Some(Self::Endpoints(namespace.clone(), service.clone(), slice_name.clone()))
            }
            Object::CidrGroup(group) => Some(Self::CidrGroup(group.name.clone())),
            Object::Node(node) => Some(Self::Node(node.name.clone())),
            Object::Workload(_) => None,
        }
    }

    /// The name that is written like this; none for an EndpointSlice, since its service is not written, and for text that
    /// is no name.
    pub(crate) fn from_written(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split('/').collect();
        let (kind, namespace, name) = match parts[..] {
            [kind, name] => (kind, None, name.to_owned()),
            [kind, namespace, name] => (kind, Some(namespace.to_owned()), name.to_owned()),
            _ => return None,
        };
        if let Some(kind) = PolicyKind::ALL.into_iter().find(|known| known.name() == kind) {
            return Some(Self::Policy(PolicyId { kind, namespace, name }));
        }
        match (kind, namespace) {
            ("Service", Some(namespace)) => Some(Self::Service(namespace, name)),
            ("Endpoints", Some(namespace)) => Some(Self::Endpoints(namespace, name, None)),
            ("Namespace", None) => Some(Self::Namespace(name)),
            ("CiliumCIDRGroup", None) => Some(Self::CidrGroup(name)),
            ("Node", None) => Some(Self::Node(name)),
            _ => None,
        }
    }

    /// The change that removes the object.
    pub(crate) fn removal(self) -> Change {
        match self {
            Self::Policy(id) => Change::RemovePolicy(id),
            Self::Service(namespace, name) => Change::RemoveService { namespace, name },
            Self::Namespace(name) => Change::RemoveNamespace(name),
            Self::Endpoints(namespace, service, slice_name) => Change::EndpointSlices {
                namespace,
                service,
                list: slice_name.unwrap_or_default(),
                slices: Vec::new(),
            },
            Self::CidrGroup(name) => Change::RemoveCidrGroup(name),
            Self::Node(name) => Change::RemoveRemoteNode(name),
        }
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Policy(id) => id.fmt(f),
            Self::Service(namespace, name) => write!(f, "Service/{namespace}/{name}"),
            Self::Namespace(name) => write!(f, "Namespace/{name}"),
            Self::Endpoints(namespace, _, Some(slice)) => write!(f, "EndpointSlice/{namespace}/{slice}"),
            Self::Endpoints(namespace, service, None) => write!(f, "Endpoints/{namespace}/{service}"),
            Self::CidrGroup(name) => write!(f, "CiliumCIDRGroup/{name}"),
            Self::Node(name) => write!(f, "Node/{name}"),
        }
    }
}

/// The change that adds an object or replaces it; none for workloads.
pub(crate) fn addition(object: &Object) -> Option<Change> {
    Some(match object {
        Object::Policy(policy) => Change::Policy(policy.clone()),
        Object::Service(service) => Change::Service(Box::new(service.clone())),
        Object::Namespace(namespace) => {
            Change::Namespace { name: namespace.name.clone(), labels: namespace.labels.clone() }
        }
        Object::Endpoints(Endpoints { namespace, service, slice_name, slices }) => Change::EndpointSlices {
            namespace: namespace.clone(),
            service: service.clone(),
            list: slice_name.clone().unwrap_or_default(),
            slices: slices.clone(),
        },
        Object::CidrGroup(CidrGroup { name, group }) => {
            Change::CidrGroup { name: name.clone(), group: group.clone() }
        }
        Object::Node(node) => Change::RemoteNode(Box::new(remote_node(node))),
        Object::Workload(_) => return None,
    })
}

/// The node as the world knows it.
fn remote_node(node: &NodeObject) -> RemoteNode {
    let NodeObject { name, labels, addresses, internal_addresses, pod_blocks } = node;
    RemoteNode {
        name: name.clone(),
        labels: labels.clone(),
        addresses: addresses.clone(),
        internal_addresses: internal_addresses.clone(),
        pod_blocks: pod_blocks.clone(),
    }
}

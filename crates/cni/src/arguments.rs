//! `CNI_ARGS`: pairs of keys and values from the runtime, such as the names of the pod.

use crate::failure::{CniFailure, ErrorCode};
use std::collections::BTreeMap;

/// The parsed arguments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuntimeArguments {
    /// The pod (`K8S_POD_NAMESPACE`, `K8S_POD_NAME`, `K8S_POD_UID`); none outside Kubernetes.
    pub pod: Option<PodArguments>,
    /// Labels (`NEXIN_LABELS`, as `app=web,tier=front`), for containers that are no pods.
    pub labels: BTreeMap<String, String>,
}

/// The names of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodArguments {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID, if the runtime states it.
    pub uid: Option<String>,
}

impl RuntimeArguments {
    /// Parses `KEY=VALUE;KEY=VALUE`. An unknown key is an error unless `IgnoreUnknown` is set.
    pub(crate) fn parse(text: &str) -> Result<Self, CniFailure> {
        let mut pairs = BTreeMap::new();
        for pair in text.split(';').filter(|pair| !pair.is_empty()) {
            let (key, value) =
                pair.split_once('=').ok_or_else(|| invalid(format!("{pair:?} should be KEY=VALUE")))?;
            pairs.insert(key, value);
        }
        let mut take = |key: &str| pairs.remove(key).filter(|value| !value.is_empty()).map(str::to_owned);
        let (namespace, name) = (take("K8S_POD_NAMESPACE"), take("K8S_POD_NAME"));
        let (uid, labels) = (take("K8S_POD_UID"), take("NEXIN_LABELS"));
        let _ = take("K8S_POD_INFRA_CONTAINER_ID");
        let ignores = take("IgnoreUnknown").is_some_and(|value| matches!(value.as_str(), "1" | "true"));
        if let Some(key) = pairs.keys().next()
            && !ignores
        {
            return Err(invalid(format!("the key {key} is not known; leave it out, or add IgnoreUnknown=1")));
        }
        let pod = match (namespace, name) {
            (Some(namespace), Some(name)) => Some(PodArguments { namespace, name, uid }),
            (None, None) => None,
            _ => return Err(invalid("K8S_POD_NAMESPACE and K8S_POD_NAME need each other".into())),
        };
        Ok(Self { pod, labels: labels.map_or(Ok(BTreeMap::new()), |labels| parse_labels(&labels))? })
    }
}

fn parse_labels(text: &str) -> Result<BTreeMap<String, String>, CniFailure> {
    let label = |pair: &str| match pair.split_once('=') {
        Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
        None => Err(invalid(format!("NEXIN_LABELS: {pair:?} should be KEY=VALUE"))),
    };
    text.split(',').map(label).collect()
}

fn invalid(message: String) -> CniFailure {
    CniFailure::new(ErrorCode::InvalidEnvironment, format!("CNI_ARGS: {message}"))
}

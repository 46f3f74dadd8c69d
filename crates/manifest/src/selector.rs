//! Label selectors: `matchLabels` and `matchExpressions`.

use crate::item::{Item, Nulls};
use crate::label::{self, LabelError};
use crate::name::is_label_key;
use crate::nearest::hint;
use identity::{Name, Operator, Requirement, Selector, Source, Values, key};

/// The syntax of the keys of a selector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keys {
    /// With or without a source: `k8s:app`, `any:app`, `app`.
    Sourced,
    /// Keys of Kubernetes, without source.
    Plain,
    /// Keys of Kubernetes, for labels of the namespace.
    OfNamespace,
}

/// A parsed selector, before scope is added.
#[derive(Clone, Debug, Default)]
pub(crate) struct ParsedSelector {
    /// From `matchLabels`.
    pub(crate) labels: Vec<Requirement>,
    /// From `matchExpressions`.
    pub(crate) expressions: Vec<Requirement>,
}

/// Builds an operator from its values.
pub(crate) type WithValues = fn(Values) -> Operator;

pub(crate) const OPERATORS: &[(&str, WithValues)] = &[
    ("In", Operator::In),
    ("NotIn", Operator::NotIn),
    ("Exists", |_| Operator::Exists),
    ("DoesNotExist", |_| Operator::DoesNotExist),
];

/// The names that may follow `reserved:`.
pub(crate) const RESERVED: &[&str] = &[
    "host",
    "world",
    "unmanaged",
    "health",
    "init",
    "remote-node",
    "kube-apiserver",
    "ingress",
    "world-ipv4",
    "world-ipv6",
    "unknown",
];

/// Label sources that are not supported yet.
const LATER_SOURCES: &[&str] =
    &["cidr", "cidrgroup", "cilium-generated", "container", "fqdn", "node", "unspec"];

/// A prefix that is mistaken for [`key::NAMESPACE_LABELS`].
const MISTAKEN_PREFIX: &str = "io.kubernetes.pod.namespace.labels.";

impl ParsedSelector {
    /// Reads `{matchLabels, matchExpressions}`.
    pub(crate) fn read(item: &Item<'_>, keys: Keys) -> Self {
        let nulls = if keys == Keys::Sourced { Nulls::Refused } else { Nulls::Absent };
        let Some(mut fields) = item.fields(nulls) else { return Self::default() };
        let labels = fields.take("matchLabels");
        let expressions = fields.take("matchExpressions");
        fields.finish();
        Self {
            labels: labels.map(|item| match_labels(&item, keys)).unwrap_or_default(),
            expressions: expressions
                .iter()
                .flat_map(Item::list)
                .filter_map(|item| match_expression(&item, keys, nulls))
                .collect(),
        }
    }

    /// All requirements, in the order of the manifest.
    pub(crate) fn requirements(&self) -> impl Iterator<Item = &Requirement> {
        self.labels.iter().chain(&self.expressions)
    }

    /// The selector, without scope.
    pub(crate) fn into_selector(self) -> Selector {
        self.labels.into_iter().chain(self.expressions).collect()
    }
}

fn match_labels(item: &Item<'_>, keys: Keys) -> Vec<Requirement> {
    let entries = item.entries().into_iter();
    entries
        .filter_map(|(name, value)| {
            let (source, name) = label_key(&value, name, keys)?;
            let operator = Operator::equals(label_value(&value)?);
            Some(Requirement { source, name, operator })
        })
        .collect()
}

fn match_expression(item: &Item<'_>, keys: Keys, nulls: Nulls) -> Option<Requirement> {
    let mut fields = item.fields(nulls)?;
    let (name, operator, values) = (fields.require("key"), fields.require("operator"), fields.take("values"));
    fields.finish();
    let key = name.and_then(|item| label_key(&item, item.text()?, keys));
    let listed = values.as_ref().map(Item::list).unwrap_or_default();
    let values = listed.iter().filter_map(label_value).collect();
    let operator = operator?.one_of("operator", OPERATORS)?(values);
    let asks_values = matches!(operator, Operator::In(_) | Operator::NotIn(_));
    if asks_values && listed.is_empty() {
        item.error("In and NotIn need `values`; list at least one");
    }
    if !asks_values && !listed.is_empty() {
        item.error("Exists and DoesNotExist take no values; leave `values` out");
    }
    let (source, name) = key?;
    Some(Requirement { source, name, operator })
}

fn label_value(item: &Item<'_>) -> Option<String> {
    let text = item.text()?;
    if let Err(error) = label::check_value(text) {
        item.error(error.to_string());
        return None;
    }
    Some(text.to_owned())
}

/// The source and name of a key; `item` is its position.
fn label_key(item: &Item<'_>, text: &str, keys: Keys) -> Option<(Option<Source>, Name)> {
    let (source, name) = match (keys, text.split_once(':')) {
        (Keys::Sourced, Some((source, name))) => (source_named(item, source)?, name),
        (Keys::Sourced, None) => (None, text),
        (Keys::Plain | Keys::OfNamespace, _) => (Some(Source::K8s), text),
    };
    if source == Some(Source::Reserved) && !RESERVED.contains(&name) {
        let hint = hint(name, RESERVED.iter().copied());
        item.error(format!("unknown reserved label {text:?}{hint} (known: {})", RESERVED.join(", ")));
        return None;
    }
    if let Some(rest) = name.strip_prefix(MISTAKEN_PREFIX) {
        let meant = key::NAMESPACE_LABELS;
        item.warn(format!(
            "no workload has the label `{name}`; the label `{rest}` of its namespace is called `{meant}{rest}`"
        ));
    }
    // The limits of Kubernetes apply to the key after the prefix of namespace labels.
    let prefixes = [key::NAMESPACE_LABELS, MISTAKEN_PREFIX];
    let behind = prefixes.iter().find_map(|prefix| name.strip_prefix(prefix));
    if !is_label_key(behind.unwrap_or(name)) {
        item.error(LabelError::Key(text.to_owned()).to_string());
        return None;
    }
    let prefix = if keys == Keys::OfNamespace { key::NAMESPACE_LABELS } else { "" };
    Some((source, format!("{prefix}{name}").into()))
}

fn source_named(item: &Item<'_>, text: &str) -> Option<Option<Source>> {
    match text {
        "any" => Some(None),
        "k8s" => Some(Some(Source::K8s)),
        "reserved" => Some(Some(Source::Reserved)),
        later if LATER_SOURCES.contains(&later) => {
            item.not_supported(format_args!("the label source `{later}:`"));
            None
        }
        other => {
            let hint = hint(other, ["any", "k8s", "reserved"]);
            item.error(format!("{other:?} is not a label source{hint} (known: any, k8s, reserved)"));
            None
        }
    }
}

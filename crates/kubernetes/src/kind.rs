//! The kinds of objects that are watched, and where the API server has them.

/// A kind of objects that is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchedKind {
    /// Its API group; empty for the core group.
    pub group: &'static str,
    /// Its versions, the preferred one first. The API server may serve some of them, or none yet.
    pub versions: &'static [&'static str],
    /// Its name.
    pub kind: &'static str,
    /// Its name in paths.
    pub plural: &'static str,
    /// Which of its objects are watched; none for all.
    pub field_selector: Option<String>,
    /// The fields of its objects that are read.
    pub fields: KeptFields,
}

/// The fields of objects that are kept beside `kind`, `metadata.name`, `metadata.namespace`, `metadata.uid`, `metadata.generation` and
/// `metadata.labels`. A change of other fields is no change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeptFields {
    /// Fields of `metadata`.
    pub metadata: &'static [&'static str],
    /// Fields of the object, which are kept whole.
    pub whole: &'static [&'static str],
    /// Fields of `spec`; none for no field of it, unless `whole` has it.
    pub spec: &'static [&'static str],
    /// Fields of `status`.
    pub status: &'static [&'static str],
    /// Whether only names and ports of `spec.containers` and `spec.initContainers` are kept: their environment may contain secrets.
    pub containers: bool,
}

/// The groups of watched kinds that the API server defines itself. All other kinds have a CustomResourceDefinition.
const BUILT_IN_GROUPS: [&str; 4] = ["", "apiextensions.k8s.io", "discovery.k8s.io", "networking.k8s.io"];

impl KeptFields {
    /// Whether nothing but metadata is read.
    pub(crate) fn are_metadata(&self) -> bool {
        let Self { metadata: _, whole, spec, status, containers } = self;
        whole.is_empty() && spec.is_empty() && status.is_empty() && !containers
    }
}

impl WatchedKind {
    /// The name of its CustomResourceDefinition; none for a kind that the API server defines itself.
    pub(crate) fn definition(&self) -> Option<String> {
        let is_built_in = BUILT_IN_GROUPS.contains(&self.group);
        (!is_built_in).then(|| format!("{}.{}", self.plural, self.group))
    }

    /// The path of all its objects, in a version.
    pub(crate) fn path(&self, version: usize) -> String {
        let (version, plural) = (self.versions[version], self.plural);
        match self.group {
            "" => format!("/api/{version}/{plural}"),
            group => format!("/apis/{group}/{version}/{plural}"),
        }
    }

    /// The `apiVersion` of its objects.
    pub(crate) fn api_version(&self, version: usize) -> String {
        match self.group {
            "" => self.versions[version].to_owned(),
            group => format!("{group}/{}", self.versions[version]),
        }
    }
}

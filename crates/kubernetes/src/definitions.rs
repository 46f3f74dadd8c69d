//! The CustomResourceDefinitions that the API server has: a watch of them ends the waits for kinds that it does not serve.

use crate::kind::{KeptFields, WatchedKind};
use crate::object::{ObservedObject, text_hash};
use crate::watch::Report;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// How often a kind without a definition is requested nevertheless: another API server behind this one may serve it.
const UNDEFINED: Duration = Duration::from_secs(300);

/// API group and plural of the definitions, which are watched beside the kinds of the caller.
pub const DEFINITIONS: (&str, &str) = (KIND.group, KIND.plural);

/// The kind of definitions. Schemas are large, so that only metadata is read. The version of a definition changes with its status,
/// and thus when the API server begins to serve it.
pub(crate) const KIND: WatchedKind = WatchedKind {
    group: "apiextensions.k8s.io",
    versions: &["v1"],
    kind: "CustomResourceDefinition",
    plural: "customresourcedefinitions",
    field_selector: None,
    fields: KeptFields {
        metadata: &["resourceVersion"],
        whole: &[],
        spec: &[],
        status: &[],
        containers: false,
    },
};

/// The definitions that the API server has.
#[derive(Debug, Default)]
pub(crate) struct Definitions(watch::Sender<KnownDefinitions>);

#[derive(Clone, Debug, Default)]
struct KnownDefinitions {
    /// Whether the watch of definitions is up to date.
    are_current: bool,
    /// A hash of each definition, by its name.
    texts: BTreeMap<String, u64>,
}

/// One definition, as the watch of its kind follows it.
#[derive(Debug)]
pub(crate) struct DefinitionView {
    name: String,
    definitions: watch::Receiver<KnownDefinitions>,
    /// Its hash when its kind was listed last; none for no definition.
    seen: Option<u64>,
}

impl Definitions {
    /// Takes a report of the watch of definitions over.
    pub(crate) fn take(&self, report: Report) {
        self.0.send_modify(|known| match report {
            Report::Objects(objects) => objects.into_iter().for_each(|object| known.put(object)),
            Report::Complete | Report::Trouble(None) => known.are_current = true,
            Report::Trouble(Some(_)) => known.are_current = false,
        });
    }

    /// Whether a kind is followed.
    pub(crate) fn are_needed(&self) -> bool {
        self.0.receiver_count() > 0
    }

    /// A view of the definition of this name.
    pub(crate) fn view(&self, name: String) -> DefinitionView {
        DefinitionView { name, definitions: self.0.subscribe(), seen: None }
    }
}

impl KnownDefinitions {
    fn put(&mut self, ObservedObject { name, text }: ObservedObject) {
        match text {
            Some(text) => self.texts.insert(name.name, text_hash(&text)),
            None => self.texts.remove(&name.name),
        };
    }
}

impl DefinitionView {
    /// The kind is listed now: what changes from now on ends the next wait.
    pub(crate) fn mark(&mut self) {
        self.seen = self.definitions.borrow_and_update().texts.get(&self.name).copied();
    }

    /// Waits until the definition is another one than at the last mark; at most until the deadline, or [`UNDEFINED`] if the API server has
    /// no such definition. Returns whether it is another one.
    pub(crate) async fn changed(&mut self, at_most: Duration) -> bool {
        let begin = Instant::now();
        loop {
            let is_absent = {
                let known = self.definitions.borrow_and_update();
                let present = known.texts.get(&self.name).copied();
                if present != self.seen {
                    return true;
                }
                known.are_current && present.is_none()
            };
            let deadline = begin + if is_absent { UNDEFINED.max(at_most) } else { at_most };
            tokio::select! {
                changed = self.definitions.changed() => if changed.is_err() { return false },
                () = sleep_until(deadline) => return false,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::ResourceName;
    use tokio::time::timeout;

    const POLL: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_millis(500);

    fn report(name: &str, version: Option<&str>) -> Report {
        let name = ResourceName { namespace: None, name: name.into() };
        Report::Objects(vec![ObservedObject { name, text: version.map(str::to_owned) }])
    }

    /// Whether a wait ends within a long time, and by a change.
    async fn waits(view: &mut DefinitionView) -> Option<bool> {
        timeout(LONG, view.changed(POLL)).await.ok()
    }

    #[tokio::test]
    async fn a_kind_is_polled_unless_its_definition_certainly_does_not_exist() {
        let definitions = Definitions::default();
        let mut view = definitions.view("a".into());
        view.mark();
        assert_eq!(waits(&mut view).await, Some(false), "definitions were not listed yet");
        definitions.take(Report::Complete);
        assert_eq!(waits(&mut view).await, None, "there is none");
        definitions.take(report("a", Some("1")));
        assert_eq!(waits(&mut view).await, Some(true), "it was installed");
        view.mark();
        assert_eq!(waits(&mut view).await, Some(false), "it is not served yet");
        definitions.take(report("a", Some("2")));
        assert_eq!(waits(&mut view).await, Some(true), "it is established");
        definitions.take(report("a", None));
        view.mark();
        definitions.take(Report::Trouble(Some("away".into())));
        assert_eq!(waits(&mut view).await, Some(false), "definitions are not up to date");
        definitions.take(Report::Trouble(None));
        definitions.take(report("b", Some("1")));
        assert_eq!(waits(&mut view).await, None, "another one was installed");
    }

    #[tokio::test]
    async fn a_definition_that_came_between_a_list_and_its_wait_ends_the_wait() {
        let definitions = Definitions::default();
        let mut view = definitions.view("a".into());
        view.mark();
        definitions.take(report("a", Some("1")));
        definitions.take(Report::Complete);
        assert_eq!(waits(&mut view).await, Some(true));
    }
}

//! Owners of workloads: of a Deployment, its ReplicaSets and their pods in the dump of a cluster, only the pods are
//! workloads.

use super::{Name, Scenario};
use agent::explain::ConnectionEnd;
use manifest::{Object, OwnerReference, PodCount, WorkloadObject};
use std::collections::{BTreeMap, BTreeSet};

type Objects = Vec<(String, Object)>;

impl Scenario {
    /// Removes objects that own other objects, and records what they own. The remaining workloads get distinct names.
    pub(super) fn resolve_owners(&mut self, objects: Objects) -> Objects {
        let (workloads, mut rest): (Vec<_>, Vec<_>) =
            objects.into_iter().partition(|(_, object)| matches!(object, Object::Workload(_)));
        let mut workloads: Vec<(String, WorkloadObject)> = workloads
            .into_iter()
            .filter_map(|(file, object)| match object {
                Object::Workload(one) => Some((file, one)),
                _ => None,
            })
            .collect();
        // Remains of earlier rollouts, scaled to zero.
        let family = Ownership::new(&workloads);
        let mut numbers = 0..;
        workloads.retain(|(_, one)| {
            let number = numbers.next().unwrap_or_default();
            !(has_no_pods(one) && family.children.contains(&number))
        });
        let family = Ownership::new(&workloads);
        for owner in family.owned.keys() {
            let pods = family.descendants(*owner).into_iter().map(|number| name(&workloads[number].1));
            self.owners.entry(name(&workloads[*owner].1)).or_default().extend(pods);
        }
        let mut numbers = 0..;
        workloads.retain(|_| !family.owned.contains_key(&numbers.next().unwrap_or_default()));
        distinguish(&mut workloads);
        let mut absent = BTreeMap::<Name, Vec<Name>>::new();
        for (_, one) in &workloads {
            for owner in absent_owners(one) {
                absent.entry((one.namespace.clone(), owner)).or_default().push(name(one));
            }
        }
        absent.retain(|owner, _| !self.owners.contains_key(owner));
        self.owners.extend(absent);
        // Workloads with addresses come first, so that no other is assigned one of these.
        workloads.sort_by_key(|(_, one)| one.addresses.is_empty());
        rest.extend(workloads.into_iter().map(|(file, one)| (file, Object::Workload(one))));
        rest
    }

    /// The end that an owner's name refers to: one of its pods.
    pub(super) fn owned(&self, owner: &Name) -> Option<ConnectionEnd> {
        let pods = self.owners.get(owner)?;
        let mut there = pods.iter().filter_map(|name| Some((name, self.workloads.get(name)?)));
        let (name, first) = there.next()?;
        let mut end = self.workload(name, first);
        end.is_one &= there.next().is_none();
        end.remarks.push(format!("{}/{} owns {}/{}, which is evaluated", owner.0, owner.1, name.0, name.1));
        Some(end)
    }
}

/// The ownership of some workloads, each by its index.
struct Ownership {
    /// The workloads that each owner owns.
    owned: BTreeMap<usize, Vec<usize>>,
    /// The workloads whose owners are present.
    children: BTreeSet<usize>,
}

impl Ownership {
    fn new(all: &[(String, WorkloadObject)]) -> Self {
        let mut named = BTreeMap::<(&str, &str), Vec<usize>>::new();
        for (number, (_, one)) in all.iter().enumerate() {
            named.entry((&one.namespace, &one.name)).or_default().push(number);
        }
        let (mut owned, mut children) = (BTreeMap::<usize, Vec<usize>>::new(), BTreeSet::new());
        for (number, (_, one)) in all.iter().enumerate() {
            for owner in &one.ownership.owners {
                let known = named.get(&(one.namespace.as_str(), owner.name.as_str()));
                if let Some(owner) = known.into_iter().flatten().find(|known| all[**known].1.owns(one)) {
                    owned.entry(*owner).or_default().push(number);
                    children.insert(number);
                }
            }
        }
        Self { owned, children }
    }

    /// The descendants of an owner that own nothing themselves.
    fn descendants(&self, owner: usize) -> Vec<usize> {
        let (mut waiting, mut seen, mut found) = (vec![owner], BTreeSet::new(), Vec::new());
        while let Some(next) = waiting.pop() {
            match self.owned.get(&next) {
                Some(owned) if seen.insert(next) => waiting.extend(owned.iter().rev()),
                Some(_) => {}
                None => found.push(next),
            }
        }
        found
    }
}

/// The names of a pod's controllers by the pod alone, as a cluster shows it: of its owners, and of the Deployment of an owning ReplicaSet,
/// whose name ends with the hash that is also a label of the pod.
fn absent_owners(one: &WorkloadObject) -> Vec<String> {
    let hash = one.labels.get("pod-template-hash");
    let deployment = |owner: &OwnerReference| {
        let deployment = owner.name.strip_suffix(hash?.as_str())?.strip_suffix('-')?;
        (owner.kind == "ReplicaSet").then(|| deployment.to_owned())
    };
    let owners = &one.ownership.owners;
    owners.iter().flat_map(|owner| deployment(owner).into_iter().chain([owner.name.clone()])).collect()
}

fn name(one: &WorkloadObject) -> Name {
    (one.namespace.clone(), one.name.clone())
}

/// Whether it is a controller without pods.
fn has_no_pods(one: &WorkloadObject) -> bool {
    one.pods == PodCount::None && one.ownership.kind != "Pod"
}

/// If workloads of several kinds have the same name, all but the first get their kind as a prefix.
fn distinguish(workloads: &mut [(String, WorkloadObject)]) {
    let mut first = BTreeMap::<Name, String>::new();
    for (_, one) in workloads {
        let kind = first.entry(name(one)).or_insert_with(|| one.ownership.kind.clone());
        if *kind != one.ownership.kind {
            one.name = format!("{}/{}", one.ownership.kind.to_lowercase(), one.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_alone_is_known_by_the_names_of_its_controllers() {
        let pods = r#"
apiVersion: v1
kind: Pod
metadata:
  name: app1-789b84586-s2rlp
  namespace: shop
  labels: {id: app1, pod-template-hash: 789b84586}
  ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: app1-789b84586, uid: r}]
spec: {containers: [{name: web}]}
---
apiVersion: v1
kind: Pod
metadata:
  name: db-0
  namespace: shop
  ownerReferences: [{apiVersion: apps/v1, kind: StatefulSet, name: db, uid: s}]
spec: {containers: [{name: db}]}
"#;
        let objects = manifest::parse("pods.yaml", pods).unwrap().objects;
        let mut scenario = Scenario::default();
        scenario.resolve_owners(objects.into_iter().map(|object| ("pods.yaml".into(), object)).collect());
        let known: Vec<_> = scenario.owners.iter().map(|(owner, pods)| (&*owner.1, &*pods[0].1)).collect();
        let pod = "app1-789b84586-s2rlp";
        assert_eq!(known, [("app1", pod), ("app1-789b84586", pod), ("db", "db-0")]);
    }
}

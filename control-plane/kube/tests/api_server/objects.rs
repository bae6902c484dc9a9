//! Objects as an API server keeps them: one version for all, a generation of each
//! spec, finalizers, namespaces that take what is in them along, and a log for watches.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::place::{Asked, Place, Verb};

/// What is answered instead of an object: status, reason, message.
pub(crate) type Refusal = (u16, &'static str, String);

/// A change, as a watch tells it.
#[derive(Clone, Debug)]
pub(crate) struct Logged {
    pub(crate) version: u64,
    pub(crate) kind: &'static str,
    pub(crate) place: Place,
    pub(crate) object: Value,
}

#[derive(Default)]
pub(crate) struct Objects {
    all: BTreeMap<Place, Value>,
    pub(crate) version: u64,
    pub(crate) log: Vec<Logged>,
    /// Changes up to this version are told no more.
    pub(crate) compacted: u64,
    /// Pods that run no more, by uid: before that they are not removed.
    ended: BTreeSet<String>,
    /// Namespaces that were emptied are not removed.
    pub(crate) namespaces_stay: bool,
}

impl Objects {
    pub(crate) fn get(&self, place: &Place) -> Option<&Value> {
        self.all.get(place)
    }

    /// Those that `asked` is about: of one resource, one namespace or all, with these labels.
    pub(crate) fn list(&self, asked: &Asked) -> Vec<&Value> {
        self.all.iter().filter(|(place, object)| wanted(asked, place, object)).map(|(_, object)| object).collect()
    }

    pub(crate) fn of(&self, resource: &str) -> Vec<&Value> {
        self.all.iter().filter(|(place, _)| place.resource == resource).map(|(_, object)| object).collect()
    }

    pub(crate) fn places(&self) -> Vec<Place> {
        self.all.keys().cloned().collect()
    }

    /// Does what `asked` says with `body`.
    pub(crate) fn write(&mut self, asked: &Asked, body: &Value) -> Result<Value, Refusal> {
        let mut place = asked.place.clone();
        if asked.verb == Verb::Create {
            place.name = body["metadata"]["name"].as_str().unwrap().to_owned();
        }
        let there = self.all.get(&place).cloned();
        let next = match (asked.verb, there) {
            (Verb::Create, Some(_)) => return Err(refused(409, "AlreadyExists", &place, "already exists")),
            (Verb::Create, None) => self.fresh(&place, body)?,
            (Verb::Apply, None) if !asked.status => self.fresh(&place, body)?,
            (_, None) => return Err(refused(404, "NotFound", &place, "not found")),
            (Verb::Delete, Some(there)) => return self.delete(&place, there, body),
            (verb, Some(there)) => {
                for field in ["resourceVersion", "uid"] {
                    let given = &body["metadata"][field];
                    if !given.is_null() && *given != there["metadata"][field] {
                        return Err(refused(409, "Conflict", &place, "the object has been modified"));
                    }
                }
                changed(there, verb, asked.status, body)
            }
        };
        if asked.dry_run {
            return Ok(next);
        }
        Ok(self.store(&place, next))
    }

    /// A new object of `body`, if there may be one.
    fn fresh(&self, place: &Place, body: &Value) -> Result<Value, Refusal> {
        if !place.namespace.is_empty() {
            let namespace = Place { resource: "namespaces".into(), name: place.namespace.clone(), ..Place::default() };
            let there = self.all.get(&namespace).ok_or_else(|| refused(404, "NotFound", &namespace, "not found"))?;
            if !there["metadata"]["deletionTimestamp"].is_null() {
                return Err(refused(403, "Forbidden", &namespace, "because it is being terminated"));
            }
        }
        let mut object = body.clone();
        let metadata = object["metadata"].as_object_mut().unwrap();
        metadata.remove("resourceVersion");
        metadata.insert("uid".to_owned(), Uuid::new_v4().to_string().into());
        metadata.insert("creationTimestamp".to_owned(), "2026-11-26T09:00:00Z".into());
        metadata.insert("generation".to_owned(), 0.into());
        if place.resource == "projects" {
            object.as_object_mut().unwrap().remove("status");
        }
        Ok(object)
    }

    fn delete(&mut self, place: &Place, mut there: Value, options: &Value) -> Result<Value, Refusal> {
        let uid = &options["preconditions"]["uid"];
        if !uid.is_null() && *uid != there["metadata"]["uid"] {
            return Err(refused(409, "Conflict", place, "the UID in the precondition is another one"));
        }
        if there["metadata"]["deletionTimestamp"].is_null() {
            there["metadata"]["deletionTimestamp"] = "2026-11-26T09:00:00Z".into();
            there["metadata"]["deletionGracePeriodSeconds"] = options["gracePeriodSeconds"].clone();
            if place.resource == "namespaces" {
                there["status"] = json!({ "phase": "Terminating", "conditions": [
                    { "type": "NamespaceContentRemaining", "status": "True", "message": "something of it is left" },
                ]});
            }
            there = self.store(place, there);
        }
        if place.resource == "namespaces" {
            for inner in self.places().into_iter().filter(|inner| inner.namespace == place.name) {
                let object = self.all[&inner].clone();
                self.delete(&inner, object, &json!({}))?;
            }
            self.end_namespaces();
        }
        Ok(there)
    }

    /// A pod that runs no more.
    pub(crate) fn ended(&mut self, place: &Place) {
        let Some(object) = self.all.get(place).cloned() else { return };
        self.ended.insert(object["metadata"]["uid"].as_str().unwrap().to_owned());
        self.settle(place);
    }

    /// What a kubelet writes.
    pub(crate) fn set_status(&mut self, place: &Place, status: Value) {
        if let Some(mut object) = self.all.get(place).cloned() {
            object["status"] = status;
            self.store(place, object);
        }
    }

    /// Keeps `next`, which may be its end.
    pub(crate) fn store(&mut self, place: &Place, mut next: Value) -> Value {
        let before = self.all.get(place);
        if let Some(before) = before {
            next["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"].clone();
            if *before == next {
                return next;
            }
        }
        if before.is_none_or(|before| before["spec"] != next["spec"]) {
            let generation = next["metadata"]["generation"].as_i64().unwrap_or(0) + 1;
            next["metadata"]["generation"] = generation.into();
        }
        self.version += 1;
        next["metadata"]["resourceVersion"] = self.version.to_string().into();
        let kind = if before.is_some() { "MODIFIED" } else { "ADDED" };
        self.log.push(Logged { version: self.version, kind, place: place.clone(), object: next.clone() });
        self.all.insert(place.clone(), next.clone());
        self.settle(place);
        next
    }

    /// Removes what was deleted and is held by nobody.
    fn settle(&mut self, place: &Place) {
        let object = &self.all[place];
        let metadata = &object["metadata"];
        let held = metadata["finalizers"].as_array().is_some_and(|finalizers| !finalizers.is_empty());
        let runs = place.resource == "pods"
            && !object["spec"]["nodeName"].is_null()
            && !self.ended.contains(metadata["uid"].as_str().unwrap());
        if metadata["deletionTimestamp"].is_null() || held || runs || place.resource == "namespaces" {
            return;
        }
        self.remove(place);
        self.end_namespaces();
    }

    fn remove(&mut self, place: &Place) {
        let mut object = self.all.remove(place).unwrap();
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.log.push(Logged { version: self.version, kind: "DELETED", place: place.clone(), object });
    }

    /// Removes the namespaces that were deleted and hold nothing.
    pub(crate) fn end_namespaces(&mut self) {
        if self.namespaces_stay {
            return;
        }
        let is_over = |place: &&Place| {
            place.resource == "namespaces"
                && !self.all[*place]["metadata"]["deletionTimestamp"].is_null()
                && !self.all.keys().any(|inner| inner.namespace == place.name)
        };
        for place in self.all.keys().filter(is_over).cloned().collect::<Vec<_>>() {
            self.remove(&place);
        }
    }
}

/// Whether an object is among those that `asked` is about.
pub(crate) fn wanted(asked: &Asked, place: &Place, object: &Value) -> bool {
    place.resource == asked.place.resource
        && (asked.place.namespace.is_empty() || place.namespace == asked.place.namespace)
        && asked.labels.iter().all(|label| label.is_so(&object["metadata"]["labels"]))
}

fn changed(there: Value, verb: Verb, status: bool, body: &Value) -> Value {
    let mut next = there.clone();
    match (verb, status) {
        (_, true) => next["status"] = body["status"].clone(),
        (Verb::Merge, false) => merge(&mut next, body),
        _ => {
            next = body.clone();
            next["status"] = there["status"].clone();
            // What no applier and no replacement decides.
            for field in ["uid", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds"] {
                next["metadata"][field] = there["metadata"][field].clone();
            }
            if verb == Verb::Apply {
                next["metadata"]["finalizers"] = there["metadata"]["finalizers"].clone();
            }
            bare(&mut next);
        }
    }
    next
}

/// RFC 7386.
fn merge(into: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else { return *into = patch.clone() };
    if !into.is_object() {
        *into = Value::Object(Map::new());
    }
    let fields = into.as_object_mut().unwrap();
    for (name, value) in patch {
        if value.is_null() {
            fields.remove(name);
        } else {
            merge(fields.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}

/// Without fields that are null, here and in the metadata.
fn bare(object: &mut Value) {
    object.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    object["metadata"].as_object_mut().unwrap().retain(|_, value| !value.is_null());
}

fn refused(status: u16, reason: &'static str, place: &Place, what: &str) -> Refusal {
    (status, reason, format!("{} \"{}\" {what}", place.resource, place.name))
}

//! What a request is about, by its method and its URL.

use std::collections::BTreeMap;

use http::{HeaderMap, Method, Uri};
use serde_json::Value;

/// Where an object is, or a list of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) resource: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// What is done there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    List,
    Watch,
    Create,
    Replace,
    Apply,
    Merge,
    Delete,
}

/// What a label has to be.
#[derive(Clone, Debug)]
pub(crate) enum Wanted {
    Is(String, String),
    There(String),
    Away(String),
}

impl Wanted {
    fn of(text: &str) -> Wanted {
        match (text.split_once('='), text.strip_prefix('!')) {
            (Some((name, value)), _) => Wanted::Is(name.to_owned(), value.to_owned()),
            (None, Some(name)) => Wanted::Away(name.to_owned()),
            (None, None) => Wanted::There(text.to_owned()),
        }
    }

    pub(crate) fn is_so(&self, labels: &Value) -> bool {
        match self {
            Wanted::Is(name, value) => labels[name] == value.as_str(),
            Wanted::There(name) => !labels[name].is_null(),
            Wanted::Away(name) => labels[name].is_null(),
        }
    }
}

/// A request, without its body.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) verb: Verb,
    pub(crate) place: Place,
    /// Whether it is about the status alone.
    pub(crate) status: bool,
    pub(crate) dry_run: bool,
    /// Labels that a list is of.
    pub(crate) labels: Vec<Wanted>,
    /// Objects of one page of a list.
    pub(crate) limit: Option<usize>,
    /// How many were on the pages before this one.
    pub(crate) after: usize,
    /// From which version on a watch is.
    pub(crate) version: Option<u64>,
}

impl Asked {
    pub(crate) fn of(method: &Method, uri: &Uri, headers: &HeaderMap) -> Asked {
        let query: BTreeMap<String, String> = uri
            .query()
            .unwrap_or_default()
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), decoded(value)))
            .collect();
        let (place, sub) = place(uri.path());
        let content = headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let verb = match *method {
            Method::GET if query.contains_key("watch") => Verb::Watch,
            Method::GET if place.name.is_empty() => Verb::List,
            Method::GET => Verb::Get,
            Method::POST => Verb::Create,
            Method::PUT => Verb::Replace,
            Method::PATCH if content.starts_with("application/apply-patch") => Verb::Apply,
            Method::PATCH => Verb::Merge,
            Method::DELETE => Verb::Delete,
            _ => panic!("{method} {uri}"),
        };
        let selector = query.get("labelSelector").map(String::as_str).unwrap_or_default();
        let number = |name: &str| query.get(name).and_then(|text| text.parse().ok());
        Asked {
            verb,
            place,
            status: sub == "status",
            dry_run: query.contains_key("dryRun"),
            labels: selector.split(',').filter(|text| !text.is_empty()).map(Wanted::of).collect(),
            limit: number("limit"),
            after: number("continue").unwrap_or(0),
            version: query.get("resourceVersion").and_then(|version| version.parse().ok()),
        }
    }

    pub(crate) fn to_delete(place: Place) -> Asked {
        Asked {
            verb: Verb::Delete,
            place,
            status: false,
            dry_run: false,
            labels: Vec::new(),
            limit: None,
            after: 0,
            version: None,
        }
    }

    /// Whether it changes something.
    pub(crate) fn writes(&self) -> bool {
        !matches!(self.verb, Verb::Get | Verb::List | Verb::Watch) && !self.dry_run
    }
}

/// The place of a path, and the part of the object that it names.
fn place(path: &str) -> (Place, String) {
    let mut words = path.trim_matches('/').split('/').map(decoded);
    // /api/VERSION or /apis/GROUP/VERSION
    let skipped = if words.next().as_deref() == Some("api") { 1 } else { 2 };
    let words: Vec<String> = words.skip(skipped).collect();
    let word = |at: usize| words.get(at).cloned().unwrap_or_default();
    let of_namespace = word(0) == "namespaces" && words.len() > 2 && word(2) != "status";
    let (namespace, at) = if of_namespace { (word(1), 2) } else { (String::new(), 0) };
    (Place { resource: word(at), namespace, name: word(at + 1) }, word(at + 2))
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let pair = [rest.next().unwrap(), rest.next().unwrap()];
                bytes.push(u8::from_str_radix(std::str::from_utf8(&pair).unwrap(), 16).unwrap());
            }
            b'+' => bytes.push(b' '),
            byte => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).unwrap()
}

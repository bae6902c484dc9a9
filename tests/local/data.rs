//! The data plane over plain HTTP: what a program without gRPC does with a project.

mod commands;
mod files;
mod refusals;
pub(crate) mod socket;
mod terminals;

use remora_tests::server::{Answer, ServerProcess};
use serde_json::Value;

/// A caller of one project over REST.
pub(crate) struct Rest<'a> {
    pub(crate) server: &'a ServerProcess,
    pub(crate) key: String,
    pub(crate) project: String,
}

impl<'a> Rest<'a> {
    pub(crate) fn admin(server: &'a ServerProcess, project: &str) -> Self {
        Rest { server, key: server.key.clone(), project: project.to_owned() }
    }

    pub(crate) fn path(&self, below: &str) -> String {
        format!("/api/v1/projects/{}/{below}", self.project)
    }

    pub(crate) async fn post(&self, below: &str, body: Value) -> Answer {
        self.server.rest_as(&self.key, "POST", &self.path(below), Some(&body)).await
    }

    pub(crate) async fn get(&self, below: &str) -> Answer {
        self.server.rest_as(&self.key, "GET", &self.path(below), None).await
    }

    pub(crate) async fn delete(&self, below: &str) -> Answer {
        self.server.rest_as(&self.key, "DELETE", &self.path(below), None).await
    }

    /// With headers of its own and bytes as its body.
    pub(crate) async fn raw(&self, method: &str, below: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
        let authorization = format!("Bearer {}", self.key);
        let mut all = vec![("authorization", authorization.as_str())];
        all.extend(headers);
        self.server.request(method, &self.path(below), &all, body).await
    }

    pub(crate) async fn put(&self, below: &str, body: &[u8]) -> Answer {
        self.raw("PUT", below, &[], body.to_vec()).await
    }
}

/// An answer that is `status`, as JSON.
#[track_caller]
pub(crate) fn ok(answer: Answer, status: u16) -> Value {
    answer.ok(status)
}

/// The status and the stable word of a refusal.
pub(crate) fn refusal(answer: &Answer) -> (u16, String) {
    answer.refusal()
}

//! [`AccessToken`]: what a program may do in one project, for a time.

use serde::{Deserialize, Serialize};

use crate::{ContainerName, Fault, PathPrefix, ProjectId, Reason, Verb};

/// An access token, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AccessToken {
    /// A UUID.
    pub id: String,
    /// The only project that it opens.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub project: ProjectId,
    /// For whom it is, for people and audit records.
    pub subject: String,
    /// What it allows.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub verbs: Vec<Verb>,
    /// The folder that is its whole world; absent is the workspace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub path_prefix: Option<PathPrefix>,
    /// Which containers it opens; absent is every one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Vec<String>>))]
    pub containers: Option<Vec<ContainerName>>,
    /// The name of whoever made it.
    pub made_by: String,
    /// The id of the API key that made it, with which it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_by_key: Option<String>,
    /// When it was made, in milliseconds since the epoch.
    pub created_ms: u64,
    /// When it ends, in milliseconds since the epoch.
    pub expires_ms: u64,
}

impl AccessToken {
    /// Whether the bearer may use `verb`.
    pub fn allows(&self, verb: Verb) -> Result<(), Fault> {
        if self.verbs.contains(&verb) {
            return Ok(());
        }
        let has: Vec<&str> = self.verbs.iter().map(|verb| verb.as_str()).collect();
        Err(Fault::new(
            Reason::VerbNotGranted,
            format!("the token of {:?} does not carry the verb {verb}", self.subject),
        )
        .hint(format!("it carries {}; ask for a token with {verb}", has.join(", "))))
    }
}

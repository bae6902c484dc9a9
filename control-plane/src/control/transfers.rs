//! Archives by signed URLs: who may have one.

use remora_control_plane_runtime::{SnapshotExport, SourceUpload};
use remora_proto_model::{AccessToken, Fault, ProjectId, Reason, Verb, project::Project};

use super::Control;
use crate::auth::{Caller, Identity, roles::role_of};

/// What an export needs: it is all that is in the files of a snapshot.
pub(crate) const EXPORT_VERBS: [Verb; 2] = [Verb::SnapshotRead, Verb::FileRead];

impl Control {
    /// The project whose snapshots `identity` may take away.
    pub(crate) async fn may_export(&self, identity: &Identity, named: &str) -> Result<ProjectId, Fault> {
        match identity {
            Identity::Caller(caller) => {
                let id = self.resolve(caller, named).await?;
                EXPORT_VERBS.into_iter().try_for_each(|verb| caller.at_least(role_of(verb)))?;
                Ok(id)
            }
            Identity::Token(token) => {
                if self.projects.resolve(named).await.ok() != Some(token.project) {
                    return Err(Fault::new(Reason::ProjectMismatch, "the token is for another project")
                        .hint("name the project that it was made for"));
                }
                may_take_all(token)?;
                Ok(token.project)
            }
        }
    }

    pub(crate) async fn export(
        &self,
        identity: &Identity,
        id: ProjectId,
        snapshot: &str,
        ttl_seconds: u32,
    ) -> Result<SnapshotExport, Fault> {
        let export = self.projects.export(id, snapshot, ttl_seconds).await?;
        tracing::info!(project = %id, caller = identity.name(), snapshot = export.snapshot, bytes = export.bytes, expires_ms = export.signed.expires_ms, "export");
        Ok(export)
    }

    pub(crate) async fn begin_upload(
        &self,
        caller: &Caller,
        named: &str,
        bytes: u64,
        zstd: bool,
        ttl_seconds: u32,
    ) -> Result<SourceUpload, Fault> {
        let id = self.owned(caller, named).await?;
        let upload = self.projects.begin_upload(id, bytes, zstd, ttl_seconds).await?;
        tracing::info!(project = %id, caller = caller.name(), upload = upload.upload, bytes, expires_ms = upload.signed.expires_ms, "begin upload");
        Ok(upload)
    }

    pub(crate) async fn complete_upload(&self, caller: &Caller, named: &str, upload: &str) -> Result<Project, Fault> {
        let id = self.owned(caller, named).await?;
        let project = self.projects.complete_upload(id, upload).await?;
        tracing::info!(project = %id, caller = caller.name(), upload, "complete upload");
        Ok(project)
    }
}

/// A snapshot is of the whole workspace, so a token for a folder opens none.
fn may_take_all(token: &AccessToken) -> Result<(), Fault> {
    EXPORT_VERBS.into_iter().try_for_each(|verb| token.allows(verb))?;
    match &token.path_prefix {
        None => Ok(()),
        Some(prefix) => Err(Fault::new(
            Reason::PathNotGranted,
            format!("a snapshot is of the whole workspace, and the token is limited to {:?}", prefix.as_str()),
        )
        .hint("ask for a token without a folder, or read the files of the folder one by one")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_takes_a_snapshot_away_only_with_both_verbs_and_without_a_folder() {
        let token = |verbs: &[Verb], prefix: Option<&str>| AccessToken {
            id: "t".to_owned(),
            project: ProjectId::new(),
            subject: "s".to_owned(),
            verbs: verbs.to_vec(),
            path_prefix: prefix.map(|prefix| prefix.to_owned().try_into().unwrap()),
            containers: None,
            made_by: "m".to_owned(),
            made_by_key: None,
            created_ms: 0,
            expires_ms: 0,
        };
        may_take_all(&token(&EXPORT_VERBS, None)).unwrap();
        let reason = |token: &AccessToken| may_take_all(token).unwrap_err().reason;
        assert_eq!(reason(&token(&[Verb::SnapshotRead], None)), Reason::VerbNotGranted);
        assert_eq!(reason(&token(&[Verb::FileRead], None)), Reason::VerbNotGranted);
        assert_eq!(reason(&token(&EXPORT_VERBS, Some("src"))), Reason::PathNotGranted);
    }
}

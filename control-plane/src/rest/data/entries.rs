//! Entries of the workspace: listed, found, looked at, made and moved.

use axum::{extract::State, response::Response};
use http::StatusCode;
use remora_proto::agent::v1::{
    CopyRequest, GlobRequest, GlobResponse, ListRequest, ListResponse, MkdirRequest, MoveRequest, StatRequest,
    stat_result,
};
use serde::{Deserialize, Serialize};

use super::{
    agent::{Agent, answer},
    content::octal,
    path_bytes::of_text,
    shown::{Cut, Entry, ItemProblem},
};
use crate::rest::{
    Shared,
    extract::{Asked, Json, Nothing, json},
    problem::{Problem, Refused},
};

/// What to list.
#[derive(Deserialize, Default, utoipa::IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(in crate::rest) struct Listing {
    /// The directory; empty is the workspace, or the folder that the token is limited to.
    path: String,
    /// How many levels, at most 64; 0 and 1 are its own entries.
    depth: u32,
    /// Leave out hidden files and what .gitignore and the like leave out.
    ignore_rules: bool,
    /// At most 1,000, which is also the default.
    page_size: u32,
    /// `nextPageToken` of the page before; empty for the first.
    page_token: String,
}

/// Entries in the order of their names' bytes.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::rest) struct EntryList {
    entries: Vec<Entry>,
    /// Empty on the last page.
    next_page_token: String,
    /// How many there are in all, where that is known without more work.
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<u64>,
    /// Directories below that could not be read; the first 100.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    problems: Vec<ItemProblem>,
    /// Present where this is not everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    truncated: Option<Cut>,
}

fn more(token: &str, count: usize) -> Option<Cut> {
    (!token.is_empty()).then(|| {
        Cut::items(count, "there is more: call again with pageToken set to nextPageToken and everything else unchanged")
    })
}

/// The entries of a directory and, with depth over 1, of those below it. Links are told and not followed.
#[utoipa::path(
    get,
    path = "/api/v1/projects/{name}/list",
    operation_id = "listFiles",
    tag = "files",
    params(("name" = String, Path, description = "Name or id of the project"), Listing),
    responses((status = 200, body = EntryList, description = "One page"), (status = "default", body = Problem, content_type = "application/problem+json", description = "What went wrong"))
)]
pub(in crate::rest) async fn list(
    State(_): State<Shared>,
    agent: Agent,
    Asked(wanted): Asked<Listing>,
) -> Result<Response, Refused> {
    let Listing { path, depth, ignore_rules, page_size, page_token } = wanted;
    let request = ListRequest { path: of_text(&path), depth, ignore_rules, page_size, page_token };
    let ListResponse { entries, next_page_token, total, problems } = answer(agent.files().list(request).await)?;
    let list = EntryList {
        truncated: more(&next_page_token, entries.len()),
        entries: entries.into_iter().map(Into::into).collect(),
        next_page_token,
        total: (total > 0).then_some(total),
        problems: problems
            .into_iter()
            .map(|problem| ItemProblem::new(problem.path, problem.error.unwrap_or_default()))
            .collect(),
    };
    Ok(json(StatusCode::OK, &list))
}

/// What to find.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::rest) struct GlobWanted {
    /// 1 to 64 patterns (`**`, `*`, `?`, `[…]`, `{a,b}`). One without a slash is a name at any depth; one that begins
    /// with `!` leaves out.
    patterns: Vec<String>,
    /// Where to look; empty is the workspace, or the folder that the token is limited to.
    #[serde(default)]
    path: String,
    /// Leave out hidden files and what .gitignore and the like leave out; true where nothing is said.
    #[serde(default = "yes")]
    ignore_rules: bool,
    /// At most 1,000, which is also the default.
    #[serde(default)]
    page_size: u32,
    /// `nextPageToken` of the page before; empty for the first.
    #[serde(default)]
    page_token: String,
}

fn yes() -> bool {
    true
}

/// What was found.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::rest) struct Found {
    /// In the order of their names' bytes.
    entries: Vec<Entry>,
    /// Empty on the last page.
    next_page_token: String,
    /// How many match in all.
    total: u64,
    /// Directories that could not be read.
    #[serde(skip_serializing_if = "is_zero")]
    unreadable_directories: u64,
    /// Present where this is not everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    truncated: Option<Cut>,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Paths of any kind that match a pattern.
#[utoipa::path(
    post,
    path = "/api/v1/projects/{name}/glob",
    operation_id = "globFiles",
    tag = "files",
    params(("name" = String, Path, description = "Name or id of the project")),
    request_body = GlobWanted,
    responses((status = 200, body = Found, description = "One page"), (status = "default", body = Problem, content_type = "application/problem+json", description = "What went wrong"))
)]
pub(in crate::rest) async fn glob(
    State(_): State<Shared>,
    agent: Agent,
    Asked(Nothing {}): Asked<Nothing>,
    Json(wanted): Json<GlobWanted>,
) -> Result<Response, Refused> {
    let GlobWanted { patterns, path, ignore_rules, page_size, page_token } = wanted;
    let request = GlobRequest { path: of_text(&path), patterns, ignore_rules, page_size, page_token };
    let GlobResponse { entries, next_page_token, total, truncated, unreadable_directories } =
        answer(agent.files().glob(request).await)?;
    let time = truncated.map(|cut| Cut::of(cut, "not everything was looked at: give a narrower path or pattern"));
    let found = Found {
        truncated: time.or_else(|| more(&next_page_token, entries.len())),
        entries: entries.into_iter().map(Into::into).collect(),
        next_page_token,
        total,
        unreadable_directories,
    };
    Ok(json(StatusCode::OK, &found))
}

/// What to look at.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::rest) struct StatWanted {
    /// 1 to 1,000.
    paths: Vec<String>,
    /// Follow a link in the last place.
    #[serde(default)]
    follow: bool,
}

/// What is at one path.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::rest) enum Looked {
    /// What is there.
    Entry(Entry),
    /// Why it could not be looked at.
    Problem(ItemProblem),
}

/// What is at each path.
#[derive(Serialize, utoipa::ToSchema)]
pub(in crate::rest) struct LookedAt {
    /// One a path, in the order of the request.
    results: Vec<Looked>,
}

/// What is at each of up to 1,000 paths. One that cannot be looked at does not fail the others.
#[utoipa::path(
    post,
    path = "/api/v1/projects/{name}/stat",
    operation_id = "statFiles",
    tag = "files",
    params(("name" = String, Path, description = "Name or id of the project")),
    request_body = StatWanted,
    responses((status = 200, body = LookedAt, description = "What is there"), (status = "default", body = Problem, content_type = "application/problem+json", description = "What went wrong"))
)]
pub(in crate::rest) async fn stat(
    State(_): State<Shared>,
    agent: Agent,
    Asked(Nothing {}): Asked<Nothing>,
    Json(StatWanted { paths, follow }): Json<StatWanted>,
) -> Result<Response, Refused> {
    let request = StatRequest { paths: paths.iter().map(|path| of_text(path)).collect(), follow };
    let looked = answer(agent.files().stat(request).await)?.results.into_iter().zip(paths);
    let results = looked
        .map(|(looked, path)| match looked.result {
            Some(stat_result::Result::Info(info)) => Looked::Entry(info.into()),
            Some(stat_result::Result::Error(error)) => Looked::Problem(ItemProblem::new(path.into(), error)),
            None => Looked::Problem(ItemProblem::new(path.into(), Default::default())),
        })
        .collect();
    Ok(json(StatusCode::OK, &LookedAt { results }))
}

/// A directory to be made.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::rest) struct MkdirWanted {
    path: String,
    /// Also those above it, and one that exists is fine.
    #[serde(default)]
    parents: bool,
    /// Permission bits in octal; absent is 0755.
    mode: Option<String>,
}

/// Makes a directory.
#[utoipa::path(
    post,
    path = "/api/v1/projects/{name}/mkdir",
    operation_id = "makeDirectory",
    tag = "files",
    params(("name" = String, Path, description = "Name or id of the project")),
    request_body = MkdirWanted,
    responses((status = 204, description = "It is there"), (status = "default", body = Problem, content_type = "application/problem+json", description = "What went wrong"))
)]
pub(in crate::rest) async fn mkdir(
    State(_): State<Shared>,
    agent: Agent,
    Asked(Nothing {}): Asked<Nothing>,
    Json(MkdirWanted { path, parents, mode }): Json<MkdirWanted>,
) -> Result<StatusCode, Refused> {
    let mode = mode.as_deref().map(octal).transpose()?;
    answer(agent.files().mkdir(MkdirRequest { path: of_text(&path), parents, mode }).await)?;
    Ok(StatusCode::NO_CONTENT)
}

/// From where to where.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::rest) struct FromTo {
    from: String,
    to: String,
    /// Replace what is at `to`: of a move a file or an empty directory, of a copy a file.
    #[serde(default)]
    overwrite: bool,
}

/// Renames an entry; a link is moved and not what it names.
#[utoipa::path(
    post,
    path = "/api/v1/projects/{name}/move",
    operation_id = "moveFile",
    tag = "files",
    params(("name" = String, Path, description = "Name or id of the project")),
    request_body = FromTo,
    responses((status = 204, description = "It is moved"), (status = "default", body = Problem, content_type = "application/problem+json", description = "What went wrong"))
)]
pub(in crate::rest) async fn rename(
    State(_): State<Shared>,
    agent: Agent,
    Asked(Nothing {}): Asked<Nothing>,
    Json(FromTo { from, to, overwrite }): Json<FromTo>,
) -> Result<StatusCode, Refused> {
    answer(agent.files().r#move(MoveRequest { from: of_text(&from), to: of_text(&to), overwrite }).await)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Copies a file, link or directory. The copy appears whole or not at all.
#[utoipa::path(
    post,
    path = "/api/v1/projects/{name}/copy",
    operation_id = "copyFile",
    tag = "files",
    params(("name" = String, Path, description = "Name or id of the project")),
    request_body = FromTo,
    responses((status = 204, description = "It is copied"), (status = "default", body = Problem, content_type = "application/problem+json", description = "What went wrong"))
)]
pub(in crate::rest) async fn copy(
    State(_): State<Shared>,
    agent: Agent,
    Asked(Nothing {}): Asked<Nothing>,
    Json(FromTo { from, to, overwrite }): Json<FromTo>,
) -> Result<StatusCode, Refused> {
    answer(agent.files().copy(CopyRequest { from: of_text(&from), to: of_text(&to), overwrite }).await)?;
    Ok(StatusCode::NO_CONTENT)
}

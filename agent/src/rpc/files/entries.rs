//! The verbs on single entries: their requests are a path or two.

use remora_agent_files as engine;
use remora_agent_files::{Attributes, Time};
use remora_agent_root::{RelPath, Root};
use remora_proto::{
    agent::v1::{
        CopyRequest, CopyResponse, MkdirRequest, MkdirResponse, MoveRequest, MoveResponse, ReadLinkRequest,
        ReadLinkResponse, RemoveRequest, RemoveResponse, SetAttrRequest, SetAttrResponse, SymlinkRequest,
        SymlinkResponse,
    },
    convert::files::{Mkdir, SetAttr},
    model::Fault,
};

use super::info;

pub(super) fn mkdir(root: &Root, request: MkdirRequest) -> Result<MkdirResponse, Fault> {
    let request = Mkdir::try_from(request)?;
    engine::mkdir(root, &RelPath::new(&request.path)?, request.parents, request.mode)?;
    Ok(MkdirResponse {})
}

pub(super) fn move_entry(root: &Root, request: MoveRequest) -> Result<MoveResponse, Fault> {
    engine::move_entry(root, &RelPath::new(&request.from)?, &RelPath::new(&request.to)?, request.overwrite)?;
    Ok(MoveResponse {})
}

pub(super) fn copy(root: &Root, request: CopyRequest) -> Result<CopyResponse, Fault> {
    engine::copy(root, &RelPath::new(&request.from)?, &RelPath::new(&request.to)?, request.overwrite)?;
    Ok(CopyResponse {})
}

pub(super) fn remove(root: &Root, request: RemoveRequest) -> Result<RemoveResponse, Fault> {
    engine::remove(root, &RelPath::new(&request.path)?, request.recursive)?;
    Ok(RemoveResponse {})
}

pub(super) fn set_attr(root: &Root, request: SetAttrRequest) -> Result<SetAttrResponse, Fault> {
    let request = SetAttr::try_from(request)?;
    let attributes = Attributes {
        mode: request.mode,
        modified: request.modified.map(|time| Time { seconds: time.seconds, nanos: time.nanos }),
    };
    let path = RelPath::new(&request.path)?;
    let found = engine::set_attr(root, &path, attributes)?;
    Ok(SetAttrResponse { info: Some(info(&path, found)) })
}

pub(super) fn symlink(root: &Root, request: SymlinkRequest) -> Result<SymlinkResponse, Fault> {
    engine::symlink(root, &RelPath::new(&request.path)?, &request.target)?;
    Ok(SymlinkResponse {})
}

pub(super) fn read_link(root: &Root, request: ReadLinkRequest) -> Result<ReadLinkResponse, Fault> {
    let target = engine::read_link(root, &RelPath::new(&request.path)?)?;
    Ok(ReadLinkResponse { target: target.into() })
}

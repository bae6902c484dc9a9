//! Stat: one result a path, an error in its place where there is one.

use remora_agent_files::{FileError, stat as look};
use remora_agent_root::{RelPath, Root};
use remora_proto::{
    agent::v1::{StatRequest, StatResponse, StatResult, stat_result},
    convert::files::Stat,
    model::Fault,
};

use super::{info, item_error};

pub(super) fn stat(root: &Root, request: StatRequest) -> Result<StatResponse, Fault> {
    let request = Stat::try_from(request)?;
    let one = |path: &[u8]| -> Result<_, FileError> {
        let path = RelPath::new(path)?;
        Ok(info(&path, look(root, &path, request.follow)?))
    };
    let results = request.paths.iter().map(|path| {
        let result =
            one(path).map_or_else(|error| stat_result::Result::Error(item_error(error)), stat_result::Result::Info);
        StatResult { result: Some(result) }
    });
    Ok(StatResponse { results: results.collect() })
}

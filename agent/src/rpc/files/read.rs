//! Read: a page of a file.

use remora_agent_files::{LineFormat, Range, read as read_page};
use remora_agent_root::{RelPath, Root};
use remora_proto::{
    agent::v1::{ReadRequest, ReadResponse},
    convert::files::{Read, ReadRange},
    model::Fault,
};

pub(super) fn read(root: &Root, request: ReadRequest) -> Result<ReadResponse, Fault> {
    let request = Read::try_from(request)?;
    let range = match request.range {
        ReadRange::Bytes { offset, length } => Range::Bytes { offset, length: length.into() },
        ReadRange::Lines { first, count, numbered } => {
            let format = if numbered { LineFormat::Numbered } else { LineFormat::Plain };
            Range::Lines { first, count, format }
        }
    };
    let page = read_page(root, &RelPath::new(&request.path)?, range, request.if_match.as_deref())?;
    Ok(ReadResponse {
        data: page.data.into(),
        etag: page.etag,
        size: page.size,
        binary: page.binary,
        next: page.next,
        clipped_lines: page.clipped_lines,
    })
}

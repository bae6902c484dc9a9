//! What `remora cp` copies from or to.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::PathBuf,
};

use remora_proto_model::ProjectName;

use crate::{Failure, project_name::project_name};

/// One of the two sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Operand {
    /// A path of this machine.
    Local(PathBuf),
    /// A path of a project's workspace.
    Remote(ProjectName, Vec<u8>),
    /// Standard input or output.
    Standard,
}

/// Parses `-`, `NAME:PATH` or a local path. What has a `/` before its first `:`
/// is local, as with scp(1), so `./a:b` names a file of this machine.
pub(super) fn parse_operand(text: OsString) -> Result<Operand, Failure> {
    let bytes = text.as_bytes();
    if bytes == b"-" {
        return Ok(Operand::Standard);
    }
    if bytes.is_empty() {
        return Err(Failure::usage(
            "an empty path names nothing",
            "write . for this folder, NAME: for a project's workspace",
        ));
    }
    let colon = bytes.iter().position(|byte| *byte == b':');
    let Some(colon) = colon.filter(|colon| !bytes[..*colon].contains(&b'/')) else {
        return Ok(Operand::Local(text.into()));
    };
    let name = OsStr::from_bytes(&bytes[..colon]).to_string_lossy().into_owned();
    let path = bytes[colon + 1..].to_vec();
    match project_name(&name) {
        Ok(project) => Ok(Operand::Remote(project, path)),
        Err(problem) => Err(Failure::usage(
            problem,
            format!("for a file of this machine write ./{}", OsString::from_vec(text.into_vec()).to_string_lossy()),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Operand {
        parse_operand(text.into()).unwrap_or_else(|failure| panic!("{text}: {failure}"))
    }

    #[test]
    fn sides_are_told_apart() {
        let remote = |name: &str, path: &str| Operand::Remote(name.parse().unwrap(), path.into());
        assert_eq!(parsed("shop:src/a"), remote("shop", "src/a"));
        assert_eq!(parsed("shop:"), remote("shop", ""));
        assert_eq!(parsed("shop:a:b"), remote("shop", "a:b"));
        assert_eq!(parsed("-"), Operand::Standard);
        for local in ["a", "./a:b", "/x:y", "a/b:c", ".", "..", "-x"] {
            assert_eq!(parsed(local), Operand::Local(local.into()));
        }
    }

    #[test]
    fn what_names_nothing_is_refused_with_a_way_out() {
        let text = parse_operand("C:x".into()).unwrap_err().text().unwrap();
        assert!(text.contains("c would do") && text.contains("./C:x"), "{text}");
        let text = parse_operand(":x".into()).unwrap_err().text().unwrap();
        assert!(text.contains("is empty"), "{text}");
        assert!(parse_operand("".into()).is_err());
        let raw = OsString::from_vec(b"shop:a\xff".to_vec());
        assert_eq!(parse_operand(raw).unwrap(), Operand::Remote("shop".parse().unwrap(), b"a\xff".to_vec()));
    }
}

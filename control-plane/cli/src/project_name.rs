//! Names of projects as people write them.

use std::path::Path;

use remora_proto_model::{Fault, ProjectName};

/// Parses the name of a project; the error says which name would do.
pub(crate) fn project_name(text: &str) -> Result<ProjectName, String> {
    text.parse().map_err(|error| match nearest(text) {
        Some(good) => format!("{error}; {good} would do"),
        None => format!("{error}; a name has 1 to 40 of a-z, 0-9 and '-'"),
    })
}

/// The name of the project for a folder, from the folder's own name.
pub(crate) fn from_folder(folder: &Path) -> Result<ProjectName, Fault> {
    let own = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    nearest(&own).ok_or_else(|| {
        let shown: String = own.chars().take(80).collect();
        Fault::invalid("name", format!("none can be made from the folder's name {shown:?}"))
            .hint("give one: --name NAME")
    })
}

/// The valid name that is most like `text`: lower case, one `-` for whatever
/// else there is, none at the ends.
fn nearest(text: &str) -> Option<ProjectName> {
    let mut name = String::new();
    for c in text.chars().flat_map(char::to_lowercase) {
        if c.is_ascii_lowercase() || c.is_ascii_digit() {
            name.push(c);
        } else if !name.ends_with('-') && !name.is_empty() {
            name.push('-');
        }
        if name.len() == ProjectName::MAX_BYTES {
            break;
        }
    }
    name.trim_end_matches('-').parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_become_names() {
        let made = |folder: &str| from_folder(Path::new(folder)).map(String::from).ok();
        assert_eq!(made("/home/me/My Shop (2)").as_deref(), Some("my-shop-2"));
        assert_eq!(made("/x/__init__").as_deref(), Some("init"));
        assert_eq!(made("/x/web").as_deref(), Some("web"));
        let long = made(&format!("/x/{}", "a-".repeat(60))).unwrap();
        assert!(long.len() <= 40 && !long.ends_with('-'), "{long}");
        assert_eq!(made("/x/日本"), None);
        assert_eq!(made("/"), None);
    }

    #[test]
    fn a_wrong_name_is_answered_with_a_right_one() {
        assert!(project_name("My Shop").unwrap_err().ends_with("my-shop would do"));
        assert!(project_name("日本").unwrap_err().contains("1 to 40"));
        assert!(project_name("").unwrap_err().contains("is empty"));
        assert_eq!(project_name("shop").unwrap().as_str(), "shop");
    }
}

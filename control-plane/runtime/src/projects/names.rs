//! The error for a name that means no project, with those that it may have meant.

use remora_proto_model::{Fault, ProjectName, Reason};

use crate::limits::SIMILAR_NAMES;

/// Names at most this many edits away are similar.
const DISTANCE: usize = 2;

/// There is no project `asked`.
pub(super) fn unknown<'a>(asked: &str, names: impl Iterator<Item = &'a ProjectName>) -> Fault {
    let shown: String = asked.chars().take(ProjectName::MAX_BYTES).collect();
    let mut near: Vec<(usize, &str)> = names
        .map(ProjectName::as_str)
        .map(|name| (distance(&shown, name), name))
        .filter(|(distance, name)| *distance <= DISTANCE || (!shown.is_empty() && name.starts_with(shown.as_str())))
        .collect();
    near.sort_unstable();
    let near: Vec<&str> = near.into_iter().take(SIMILAR_NAMES).map(|(_, name)| name).collect();
    let hint = match near.as_slice() {
        [] => "list the projects to see their names".to_owned(),
        near => format!("did you mean {}?", near.join(" or ")),
    };
    Fault::new(Reason::NotFound, format!("there is no project {shown:?}")).hint(hint)
}

/// Edits (insert, remove, replace) between two texts; both are at most 40 characters here.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_names_close_matches() {
        let names: Vec<ProjectName> = ["shop", "shop-admin", "blog"].map(|name| name.parse().unwrap()).to_vec();
        let hint = |asked: &str| unknown(asked, names.iter()).hint.into_owned();
        assert_eq!(hint("shpo"), "did you mean shop?");
        assert_eq!(hint("sho"), "did you mean shop or shop-admin?");
        assert_eq!(hint("zebra"), "list the projects to see their names");
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}

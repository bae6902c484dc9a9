//! List: the entries of a directory and of those below it, page by page.

use remora_agent_root::{RelPath, Root};

use crate::{
    FileError, Metadata,
    limits::{MAX_LIST_PAGE, MAX_LIST_PROBLEMS},
    page_token::Question,
    selection::{Go, Selection},
    stop::{Stop, Stopped, nobody_waits},
};

/// What is listed.
#[derive(Clone, Debug)]
pub struct ListQuery {
    /// The directory.
    pub path: RelPath,
    /// How many levels, at least 1.
    pub depth: usize,
    /// Whether ignore rules leave out.
    pub ignore_rules: bool,
    /// How many entries a page has at most.
    pub page_size: usize,
    /// Where the page before ended; empty for the first.
    pub page_token: String,
}

/// A page of a listing.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// The entries, with their whole paths.
    pub entries: Vec<(RelPath, Metadata)>,
    /// The token of the next page; `None` on the last.
    pub next: Option<String>,
    /// How many entries there are in all, where one level is listed.
    pub total: Option<u64>,
    /// Directories that could not be read.
    pub problems: Vec<(RelPath, FileError)>,
    /// Whether time ran out before the page was full; `next` goes on from there.
    pub out_of_time: bool,
}

/// Lists a page.
pub fn list(root: &Root, query: &ListQuery, stop: &Stop) -> Result<Listing, FileError> {
    let question =
        Question::new([b"list", query.path.as_bytes(), &query.depth.to_le_bytes(), &[u8::from(query.ignore_rules)]]);
    let after = question.after(&query.page_token)?;
    let page_size = query.page_size.clamp(1, MAX_LIST_PAGE);
    let one_level = query.depth <= 1;
    let mut listing = Listing::default();
    let (mut more, mut total, mut seen) = (false, 0_u64, None);
    let selection = Selection {
        base: &query.path,
        depth: query.depth.max(1),
        ignore_rules: query.ignore_rules,
        patterns: None,
        // One level is walked whole, because its total is told.
        after: if one_level { None } else { after.as_deref() },
    };
    let problems = &mut listing.problems;
    let entries = &mut listing.entries;
    let stopped = selection.walk(
        root,
        stop,
        |found| {
            total += 1;
            let path = found.path.as_bytes();
            if one_level && after.as_deref().is_some_and(|after| crate::selection::order(path, after).is_le()) {
                return Ok(Go::On);
            }
            if entries.len() >= page_size {
                more = true;
                return Ok(if one_level { Go::On } else { Go::Home });
            }
            seen = Some(path.to_vec());
            if let Some((metadata, _)) = found.look()? {
                entries.push((found.path, metadata));
            }
            Ok(Go::On)
        },
        |problem| {
            if problems.len() < MAX_LIST_PROBLEMS {
                problems.push(problem);
            }
        },
    )?;
    match stopped {
        Some(Stopped::Asked) => return Err(nobody_waits()),
        Some(Stopped::Time) => (more, listing.out_of_time) = (true, true),
        None => {}
    }
    listing.total = (one_level && !listing.out_of_time).then_some(total);
    listing.next = seen.or(after).filter(|_| more).map(|last| question.token(&last));
    Ok(listing)
}

//! Glob: paths that match patterns, page by page.

use remora_agent_root::{RelPath, Root};

use crate::{
    FileError, Metadata,
    limits::MAX_LIST_PAGE,
    page_token::Question,
    patterns::Patterns,
    selection::{Go, Selection, order},
    stop::{Stop, Stopped, nobody_waits},
};

/// What is looked for.
#[derive(Clone, Debug)]
pub struct GlobQuery {
    /// Where.
    pub path: RelPath,
    /// Patterns relative to `path`; one that begins with `!` leaves out.
    pub patterns: Vec<String>,
    /// Whether ignore rules leave out.
    pub ignore_rules: bool,
    /// How many entries a page has at most.
    pub page_size: usize,
    /// Where the page before ended; empty for the first.
    pub page_token: String,
}

/// A page of matches.
#[derive(Clone, Debug, Default)]
pub struct Globbed {
    /// The entries, with their whole paths.
    pub entries: Vec<(RelPath, Metadata)>,
    /// The token of the next page; `None` on the last.
    pub next: Option<String>,
    /// How many match in all, as far as was looked.
    pub total: u64,
    /// Whether time ran out before everything was looked at.
    pub out_of_time: bool,
    /// How many directories could not be read, with whatever matches in them.
    pub unreadable: u64,
}

/// Finds a page of what matches.
pub fn glob(root: &Root, query: &GlobQuery, stop: &Stop) -> Result<Globbed, FileError> {
    let patterns = Patterns::new("patterns", &query.patterns)?;
    let rules = [u8::from(query.ignore_rules)];
    let question = Question::new(
        [b"glob", query.path.as_bytes(), &rules[..]].into_iter().chain(query.patterns.iter().map(String::as_bytes)),
    );
    let after = question.after(&query.page_token)?;
    let page_size = query.page_size.clamp(1, MAX_LIST_PAGE);
    let mut globbed = Globbed::default();
    let (mut more, mut seen, mut unreadable) = (false, None, 0);
    // Every page looks at the whole tree, because the total is told.
    let selection = Selection {
        base: &query.path,
        depth: usize::MAX,
        ignore_rules: query.ignore_rules,
        patterns: Some(&patterns),
        after: None,
    };
    let (entries, total) = (&mut globbed.entries, &mut globbed.total);
    let stopped = selection.walk(
        root,
        stop,
        |found| {
            if !patterns.wants(found.below) {
                return Ok(Go::On);
            }
            *total += 1;
            let path = found.path.as_bytes();
            if after.as_deref().is_some_and(|after| order(path, after).is_le()) {
                return Ok(Go::On);
            }
            if entries.len() >= page_size {
                more = true;
                return Ok(Go::On);
            }
            seen = Some(path.to_vec());
            if let Some((metadata, _)) = found.look()? {
                entries.push((found.path, metadata));
            }
            Ok(Go::On)
        },
        |_| unreadable += 1,
    )?;
    match stopped {
        Some(Stopped::Asked) => return Err(nobody_waits()),
        Some(Stopped::Time) => globbed.out_of_time = true,
        None => {}
    }
    globbed.unreadable = unreadable;
    globbed.next = seen.filter(|_| more).map(|last| question.token(&last));
    Ok(globbed)
}

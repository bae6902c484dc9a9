//! The requests that look for something or at many things: List, Glob, Grep and Watch.

use std::time::Duration;

use bytes::Bytes;
use remora_proto_model::Fault;

use super::at_most;
use crate::agent::v1::{GlobRequest, GrepRequest, ListRequest, WatchRequest, grep_request::Mode};

/// Most levels of one List.
pub const MAX_LIST_DEPTH: u32 = 64;
/// Most entries on a page of List or Glob.
pub const MAX_LIST_PAGE: u32 = 1_000;
/// Longest page token: a path in hexadecimal with its mark.
pub const MAX_PAGE_TOKEN_BYTES: usize = 8_400;
/// Most patterns of one call.
pub const MAX_GLOBS: usize = 64;
/// Longest pattern, in bytes.
pub const MAX_GLOB_BYTES: usize = 4_096;
/// Longest expression to search for, in bytes.
pub const MAX_GREP_PATTERN_BYTES: usize = 65_536;
/// Most lines of context on either side of a match.
pub const MAX_GREP_CONTEXT: u32 = 20;
/// Most results of one search.
pub const MAX_GREP_RESULTS: u32 = 10_000;
/// Results where the caller does not say.
pub const DEFAULT_GREP_RESULTS: u32 = 250;
/// Longest time of one search, in milliseconds.
pub const MAX_GREP_MS: u32 = 60_000;
/// Milliseconds where the caller does not say.
pub const DEFAULT_GREP_MS: u32 = 15_000;
/// Shortest time within which changes become one batch.
pub const MIN_COALESCE: Duration = Duration::from_millis(10);
/// Longest time within which changes become one batch.
pub const MAX_COALESCE: Duration = Duration::from_millis(5_000);
/// The time where the caller does not say: an editor's save is one batch.
pub const DEFAULT_COALESCE: Duration = Duration::from_millis(50);

/// A checked [`ListRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    /// The directory.
    pub path: Bytes,
    /// How many levels, at least 1.
    pub depth: u32,
    /// Whether ignore rules leave out.
    pub ignore_rules: bool,
    /// How many entries at most.
    pub page_size: u32,
    /// Where the page before ended.
    pub page_token: String,
}

impl TryFrom<ListRequest> for List {
    type Error = Fault;
    fn try_from(request: ListRequest) -> Result<Self, Fault> {
        at_most("depth", request.depth.into(), MAX_LIST_DEPTH.into())?;
        Ok(List {
            path: request.path,
            depth: request.depth.max(1),
            ignore_rules: request.ignore_rules,
            page_size: page_size(request.page_size)?,
            page_token: page_token(request.page_token)?,
        })
    }
}

/// A checked [`GlobRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    /// Where to look.
    pub path: Bytes,
    /// At least one.
    pub patterns: Vec<String>,
    /// Whether ignore rules leave out.
    pub ignore_rules: bool,
    /// How many entries at most.
    pub page_size: u32,
    /// Where the page before ended.
    pub page_token: String,
}

impl TryFrom<GlobRequest> for Glob {
    type Error = Fault;
    fn try_from(request: GlobRequest) -> Result<Self, Fault> {
        if request.patterns.is_empty() {
            return Err(
                Fault::invalid("patterns", "is empty").hint(format!("send 1 to {MAX_GLOBS}, for example **/*.rs"))
            );
        }
        globs("patterns", &request.patterns)?;
        Ok(Glob {
            path: request.path,
            patterns: request.patterns,
            ignore_rules: request.ignore_rules,
            page_size: page_size(request.page_size)?,
            page_token: page_token(request.page_token)?,
        })
    }
}

/// What a search gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrepOutput {
    /// Lines.
    Content,
    /// Paths.
    Files,
    /// Counts.
    Count,
}

/// A checked [`GrepRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrepSearch {
    /// Where to look.
    pub path: Bytes,
    /// What for.
    pub pattern: String,
    /// Whether it is no regular expression.
    pub literal: bool,
    /// Whether case counts.
    pub ignore_case: bool,
    /// Whether only whole words match.
    pub whole_words: bool,
    /// Whether a match may span lines.
    pub multiline: bool,
    /// Which files.
    pub globs: Vec<String>,
    /// Whether ignore rules leave out.
    pub ignore_rules: bool,
    /// What is given.
    pub output: GrepOutput,
    /// Lines before a match.
    pub before: u32,
    /// Lines after a match.
    pub after: u32,
    /// How many results at most.
    pub max_results: u32,
    /// How long it may take.
    pub budget: Duration,
}

impl TryFrom<GrepRequest> for GrepSearch {
    type Error = Fault;
    fn try_from(request: GrepRequest) -> Result<Self, Fault> {
        if request.pattern.is_empty() || request.pattern.len() > MAX_GREP_PATTERN_BYTES {
            return Err(Fault::invalid("pattern", format!("has {} bytes", request.pattern.len()))
                .hint(format!("send 1 to {MAX_GREP_PATTERN_BYTES}")));
        }
        globs("globs", &request.globs)?;
        at_most("before_context", request.before_context.into(), MAX_GREP_CONTEXT.into())?;
        at_most("after_context", request.after_context.into(), MAX_GREP_CONTEXT.into())?;
        at_most("max_results", request.max_results.into(), MAX_GREP_RESULTS.into())?;
        at_most("time_budget_ms", request.time_budget_ms.into(), MAX_GREP_MS.into())?;
        let output = match Mode::try_from(request.mode) {
            Ok(Mode::Unspecified | Mode::Content) => GrepOutput::Content,
            Ok(Mode::Files) => GrepOutput::Files,
            Ok(Mode::Count) => GrepOutput::Count,
            Err(_) => {
                return Err(Fault::invalid("mode", format!("{} is none", request.mode))
                    .hint("send CONTENT (1), FILES (2) or COUNT (3)"));
            }
        };
        let or = |value: u32, default| if value == 0 { default } else { value };
        Ok(GrepSearch {
            path: request.path,
            pattern: request.pattern,
            literal: request.literal,
            ignore_case: request.ignore_case,
            whole_words: request.whole_words,
            multiline: request.multiline,
            globs: request.globs,
            ignore_rules: !request.no_ignore_rules,
            output,
            before: request.before_context,
            after: request.after_context,
            max_results: or(request.max_results, DEFAULT_GREP_RESULTS),
            budget: Duration::from_millis(or(request.time_budget_ms, DEFAULT_GREP_MS).into()),
        })
    }
}

fn globs(field: &str, patterns: &[String]) -> Result<(), Fault> {
    if patterns.len() > MAX_GLOBS {
        return Err(
            Fault::invalid(field, format!("{} given", patterns.len())).hint(format!("send at most {MAX_GLOBS}"))
        );
    }
    match patterns.iter().find(|pattern| pattern.is_empty() || pattern.len() > MAX_GLOB_BYTES) {
        Some(bad) => Err(Fault::invalid(field, format!("a pattern has {} bytes", bad.len()))
            .hint(format!("each has 1 to {MAX_GLOB_BYTES}"))),
        None => Ok(()),
    }
}

fn page_size(size: u32) -> Result<u32, Fault> {
    at_most("page_size", size.into(), MAX_LIST_PAGE.into())?;
    Ok(if size == 0 { MAX_LIST_PAGE } else { size })
}

fn page_token(token: String) -> Result<String, Fault> {
    if token.len() > MAX_PAGE_TOKEN_BYTES {
        return Err(Fault::invalid("page_token", "is longer than any that an agent gave")
            .hint("send `next_page_token` of the page before as it is"));
    }
    Ok(token)
}

/// A checked [`WatchRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// The directory.
    pub path: Bytes,
    /// What of it is told of.
    pub globs: Vec<String>,
    /// Whether ignore rules leave out.
    pub ignore_rules: bool,
    /// Time within which changes become one batch.
    pub coalesce: Duration,
}

impl TryFrom<WatchRequest> for Watch {
    type Error = Fault;
    fn try_from(request: WatchRequest) -> Result<Self, Fault> {
        let WatchRequest { path, globs, ignore_rules, coalesce_ms } = request;
        self::globs("globs", &globs)?;
        let coalesce = match coalesce_ms {
            0 => DEFAULT_COALESCE,
            millis => Duration::from_millis(millis.into()),
        };
        if !(MIN_COALESCE..=MAX_COALESCE).contains(&coalesce) {
            return Err(Fault::invalid("coalesce_ms", format!("{coalesce_ms} is too short or too long"))
                .hint("send 10 to 5000, or 0 for 50"));
        }
        Ok(Watch { path, globs, ignore_rules, coalesce })
    }
}

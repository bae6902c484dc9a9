//! List, Glob and Grep: the agent looks, and gives up when the caller is gone.

use std::sync::Arc;

use remora_agent_files::{self as engine, GlobQuery, GrepHow, GrepMode, ListQuery, Stop};
use remora_agent_root::{RelPath, Root};
use remora_proto::{
    agent::v1::{
        GlobRequest, GlobResponse, GrepBatch, GrepEvent, GrepRequest, GrepResult, GrepSpan, GrepSummary, ListProblem,
        ListRequest, ListResponse, Truncated, grep_event::Event, truncated,
    },
    convert::files::{Glob, GrepOutput, GrepSearch, List},
    fault::to_status,
    model::Fault,
};
use tokio::{
    runtime::Handle,
    sync::{Semaphore, mpsc},
    time::timeout,
};
use tonic::Status;

use super::{View, blocking, info, item_error};
use crate::limits::{LIST_BUDGET, SEARCH_BATCHES_AHEAD, SEARCH_STALL};

/// Ends a search when the call that waits for it is dropped.
pub(super) struct Waiting(Stop);

impl Waiting {
    pub(super) fn for_page() -> (Self, Stop) {
        let stop = Stop::after(LIST_BUDGET);
        (Waiting(stop.clone()), stop)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.ask();
    }
}

pub(super) fn list(root: &Root, request: ListRequest, stop: &Stop) -> Result<ListResponse, Fault> {
    let request = List::try_from(request)?;
    let query = ListQuery {
        path: RelPath::new(&request.path)?,
        depth: request.depth as usize,
        ignore_rules: request.ignore_rules,
        page_size: request.page_size as usize,
        page_token: request.page_token,
    };
    let listing = engine::list(root, &query, stop)?;
    Ok(ListResponse {
        entries: listing.entries.into_iter().map(|(path, found)| info(&path, found)).collect(),
        next_page_token: listing.next.unwrap_or_default(),
        total: listing.total.unwrap_or_default(),
        problems: listing
            .problems
            .into_iter()
            .map(|(path, error)| ListProblem { path: path.as_bytes().to_vec().into(), error: Some(item_error(error)) })
            .collect(),
    })
}

pub(super) fn glob(root: &Root, request: GlobRequest, stop: &Stop) -> Result<GlobResponse, Fault> {
    let request = Glob::try_from(request)?;
    let query = GlobQuery {
        path: RelPath::new(&request.path)?,
        patterns: request.patterns,
        ignore_rules: request.ignore_rules,
        page_size: request.page_size as usize,
        page_token: request.page_token,
    };
    let found = engine::glob(root, &query, stop)?;
    Ok(GlobResponse {
        entries: found.entries.into_iter().map(|(path, found)| info(&path, found)).collect(),
        next_page_token: found.next.unwrap_or_default(),
        total: found.total,
        truncated: found.out_of_time.then(|| out_of_time(LIST_BUDGET)),
        unreadable_directories: found.unreadable,
    })
}

fn out_of_time(budget: std::time::Duration) -> Truncated {
    let limit = u64::try_from(budget.as_millis()).unwrap_or(u64::MAX);
    Truncated { reason: truncated::Reason::Time.into(), limit, total: 0 }
}

/// What goes out, with the error that may end it.
type Events = mpsc::Receiver<Result<GrepEvent, Status>>;

/// Starts a search. What is wrong with the request is its answer; what fails later ends the stream.
pub(super) async fn grep(searches: &Arc<Semaphore>, view: View, request: GrepRequest) -> Result<Events, Fault> {
    let request = GrepSearch::try_from(request)?;
    let path = RelPath::new(&request.path)?;
    let (budget, max_results) = (request.budget, request.max_results);
    let searches = Arc::clone(searches);
    // To compile a large expression is work too.
    let (root, grep) = blocking(&searches, move || Ok((view.root()?, engine::Grep::new(how(request))?))).await?;
    let (sender, events) = mpsc::channel(SEARCH_BATCHES_AHEAD);
    let runtime = Handle::current();
    let stop = Stop::after(budget);
    tokio::spawn(async move {
        let search = {
            let (sender, stop) = (sender.clone(), stop.clone());
            blocking(&searches, move || {
                let mut emit = |batch: Vec<engine::GrepResult>| {
                    let results = batch.into_iter().map(result).collect();
                    let event = GrepEvent { event: Some(Event::Batch(GrepBatch { results })) };
                    matches!(runtime.block_on(timeout(SEARCH_STALL, sender.send(Ok(event)))), Ok(Ok(())))
                };
                Ok(grep.run(&root, &path, &stop, &mut emit)?)
            })
        };
        let ended = tokio::select! {
            ended = search => ended,
            // A search that finds nothing would not notice that its caller left.
            () = sender.closed() => return stop.ask(),
        };
        let last = ended.map(|summary| GrepEvent { event: Some(Event::Done(done(summary, budget, max_results))) });
        // Whoever is gone by now needs no last word.
        let _ = timeout(SEARCH_STALL, sender.send(last.map_err(|fault| to_status(&fault)))).await;
    });
    Ok(events)
}

fn how(request: GrepSearch) -> GrepHow {
    GrepHow {
        pattern: request.pattern,
        literal: request.literal,
        ignore_case: request.ignore_case,
        whole_words: request.whole_words,
        multiline: request.multiline,
        globs: request.globs,
        ignore_rules: request.ignore_rules,
        mode: match request.output {
            GrepOutput::Content => GrepMode::Content,
            GrepOutput::Files => GrepMode::Files,
            GrepOutput::Count => GrepMode::Count,
        },
        before: request.before as usize,
        after: request.after as usize,
        max_results: request.max_results.into(),
    }
}

fn result(found: engine::GrepResult) -> GrepResult {
    let span = |(start, end): (usize, usize)| GrepSpan {
        start: u32::try_from(start).unwrap_or(u32::MAX),
        end: u32::try_from(end).unwrap_or(u32::MAX),
    };
    GrepResult {
        path: found.path.as_bytes().to_vec().into(),
        line: found.line,
        offset: found.offset,
        text: found.text.into(),
        spans: found.spans.into_iter().map(span).collect(),
        context: found.context,
        clipped: found.clipped,
        count: found.count,
        text_offset: found.text_offset,
    }
}

fn done(summary: engine::GrepSummary, budget: std::time::Duration, max_results: u32) -> GrepSummary {
    let truncated = if summary.out_of_time {
        Some(out_of_time(budget))
    } else {
        summary.more.then(|| Truncated { reason: truncated::Reason::Items.into(), limit: max_results.into(), total: 0 })
    };
    GrepSummary {
        files_searched: summary.files,
        binary_files: summary.binary,
        matches: summary.matches,
        unreadable_files: summary.unreadable,
        truncated,
        too_large_files: summary.too_large,
        pieced_lines: summary.pieced_lines,
    }
}

//! `remora cp SRC DST`: files and folders to a project, from it, and within it.
//!
//! As cp(1): into a folder that is there, under the own name; else under the
//! name that is given. `SRC/.` is the folder's content.

mod operand;

use std::{
    ffi::OsString,
    fs::{self, Metadata},
    io,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{FileTypeExt as _, MetadataExt as _},
    },
    path::{Path, PathBuf},
};

use bytes::Bytes;
use clap::{Args, ValueHint};
use remora_proto::agent::v1::{
    ArchiveFormat, ArchivePutHead, ArchivePutRequest, CopyRequest, EntryKind, FileInfo, FileTime, SetAttrRequest,
    StatRequest, WriteHead, WriteRequest, archive_put_request, stat_result, write_head::Condition, write_request,
};
use remora_proto_model::{Fault, ProjectName, Reason};
use uuid::Uuid;

use self::operand::{Operand, parse_operand};
use crate::{
    Context, Failure,
    clients::{self, Files},
    output::{bytes, note, stdout_failure},
    progress::{ClearOnDrop, Progress},
    transfer::{
        chunks::{ChunkReader, channel},
        download::{get_folder, read_file},
        local_tree::{ModifiedAt, write_file},
        pack::Rules,
        upload::{Sink, send_all, send_folder, upload},
    },
};

/// Flags of `remora cp`.
#[derive(Args, Clone, Debug)]
pub struct CpArgs {
    /// What to copy: a path here, NAME:PATH in a project, or - for standard input.
    #[arg(value_name = "SRC", value_hint = ValueHint::AnyPath)]
    from: OsString,
    /// Where to: a path here, NAME:PATH in a project, or - for standard output.
    #[arg(value_name = "DST", value_hint = ValueHint::AnyPath)]
    to: OsString,
}

/// The two sides of a copy that makes sense.
pub(crate) enum Sides {
    /// From one place of a project to another.
    Within(ProjectName, Vec<u8>, Vec<u8>),
    /// From a project to a path here.
    Get(ProjectName, Vec<u8>, PathBuf),
    /// From a project to standard output.
    Print(ProjectName, Vec<u8>),
    /// From a path here to a project.
    Put(PathBuf, ProjectName, Vec<u8>),
    /// From standard input to a project.
    Feed(ProjectName, Vec<u8>),
}

impl CpArgs {
    /// What is copied where.
    pub(crate) fn sides(self) -> Result<Sides, Failure> {
        match (parse_operand(self.from)?, parse_operand(self.to)?) {
            (Operand::Remote(project, from), Operand::Remote(other, to)) if project == other => {
                Ok(Sides::Within(project, from, to))
            }
            (Operand::Remote(project, from), Operand::Local(to)) => Ok(Sides::Get(project, from, to)),
            (Operand::Remote(project, from), Operand::Standard) => Ok(Sides::Print(project, from)),
            (Operand::Local(from), Operand::Remote(project, to)) => Ok(Sides::Put(from, project, to)),
            (Operand::Standard, Operand::Remote(project, to)) => Ok(Sides::Feed(project, to)),
            (Operand::Remote(..), Operand::Remote(..)) => Err(Failure::usage(
                "two projects cannot be copied between directly",
                "copy to this machine first, or pipe: remora cp A:FILE - | remora cp - B:FILE",
            )),
            (Operand::Local(_) | Operand::Standard, Operand::Local(_) | Operand::Standard) => Err(Failure::usage(
                "neither of the two is in a project",
                "write NAME:PATH for one of them; cp(1) copies on this machine",
            )),
        }
    }
}

/// Runs the verb.
pub(crate) async fn run(context: &Context, sides: Sides) -> Result<(), Failure> {
    match sides {
        Sides::Within(project, from, to) => within(&mut clients::files(context, &project).await?, from, to).await,
        Sides::Get(project, from, to) => from_project(&mut clients::files(context, &project).await?, &from, &to).await,
        Sides::Print(project, from) => to_stdout(&mut clients::files(context, &project).await?, from).await,
        Sides::Put(from, project, to) => to_project(&mut clients::files(context, &project).await?, &from, to).await,
        Sides::Feed(project, to) => {
            let mut files = clients::files(context, &project).await?;
            write(&mut files, head(to, None, None), tokio::io::stdin(), "standard input", None).await
        }
    }
}

async fn within(files: &mut Files, from: Vec<u8>, to: Vec<u8>) -> Result<(), Failure> {
    let to = match stat(files, &to).await? {
        Some(info) if info.kind() == EntryKind::Directory => join(&to, last_name(&from)?),
        _ => to,
    };
    files.copy(CopyRequest { from: from.into(), to: to.into(), overwrite: true }).await?;
    Ok(())
}

/// What is at `path` in the project; links are followed, `None` is nothing.
async fn stat(files: &mut Files, path: &[u8]) -> Result<Option<FileInfo>, Failure> {
    let request = StatRequest { paths: vec![Bytes::copy_from_slice(path)], follow: true };
    let result = files.stat(request).await?.into_inner().results.into_iter().next().and_then(|result| result.result);
    match result {
        Some(stat_result::Result::Info(info)) => Ok(Some(info)),
        Some(stat_result::Result::Error(error)) if error.reason == Reason::NotFound.as_str() => Ok(None),
        Some(stat_result::Result::Error(error)) => {
            let reason = error.reason.parse().unwrap_or(Reason::FailedPrecondition);
            Err(Failure::Fault(Fault::new(reason, error.message).hint(error.hint)))
        }
        None => Err(Failure::Fault(Fault::new(Reason::Internal, "the agent looked at no path"))),
    }
}

async fn to_project(files: &mut Files, from: &Path, to: Vec<u8>) -> Result<(), Failure> {
    let shown = from.display().to_string();
    let metadata = fs::metadata(from).map_err(Failure::local(shown.clone()))?;
    let there = stat(files, &to).await?;
    let there_is_folder = there.as_ref().is_some_and(|info| info.kind() == EntryKind::Directory);
    let contents = from.as_os_str().as_bytes().ends_with(b"/.") || from.as_os_str() == ".";
    let target = match there_is_folder {
        true if !contents => join(&to, last_name(from.as_os_str().as_bytes())?),
        _ => to.clone(),
    };
    if metadata.is_dir() {
        if there.is_some() && !there_is_folder {
            return Err(Failure::Fault(Fault::new(
                Reason::NotADirectory,
                format!("{shown} is a folder and {:?} in the project is none", String::from_utf8_lossy(&to)),
            )));
        }
        return put_folder(files, from, target).await;
    }
    if metadata.file_type().is_socket() {
        return Err(Failure::usage(format!("{shown} is a socket"), "files, pipes and folders can be copied"));
    }
    if to.ends_with(b"/") && !there_is_folder {
        return Err(Failure::Fault(
            Fault::new(
                Reason::NotFound,
                format!("there is no folder {:?} in the project", String::from_utf8_lossy(&to)),
            )
            .hint("`remora fs mkdir` makes it"),
        ));
    }
    let file = tokio::fs::File::open(from).await.map_err(Failure::local(shown.clone()))?;
    let regular = metadata.is_file().then_some(&metadata);
    let length = regular.map(Metadata::len);
    let modified = regular.map(|metadata| FileTime { seconds: metadata.mtime(), nanos: metadata.mtime_nsec() as u32 });
    write(files, head(target, regular.map(|metadata| metadata.mode() & 0o777), length), file, &shown, modified).await
}

/// The head of a write that makes the file or replaces it.
fn head(path: Vec<u8>, mode: Option<u32>, length: Option<u64>) -> WriteHead {
    WriteHead { path: path.into(), condition: Some(Condition::Overwrite(true)), parents: false, mode, length }
}

async fn write(
    files: &mut Files,
    head: WriteHead,
    content: impl tokio::io::AsyncRead + Unpin,
    what: &str,
    modified: Option<FileTime>,
) -> Result<(), Failure> {
    let progress = Progress::bytes(what, head.length);
    let _line = ClearOnDrop(progress.clone());
    let path = head.path.clone();
    let fill = async |sink: Sink<WriteRequest>| {
        sink.send(WriteRequest { part: Some(write_request::Part::Head(head)) }).await;
        let wrap = |data| WriteRequest { part: Some(write_request::Part::Data(data)) };
        send_all(&sink, content, what, &progress, wrap).await
    };
    let end = WriteRequest { part: Some(write_request::Part::End(true)) };
    upload(fill, end, |messages| files.write(messages)).await?;
    if modified.is_some() {
        files.set_attr(SetAttrRequest { path, mode: None, modified }).await?;
    }
    Ok(())
}

async fn put_folder(files: &mut Files, from: &Path, target: Vec<u8>) -> Result<(), Failure> {
    let progress = Progress::bytes(&format!("sending {}", from.display()), None);
    let _line = ClearOnDrop(progress.clone());
    let head = ArchivePutHead { path: target.into(), format: ArchiveFormat::TarZstd.into() };
    let mut skipped = 0;
    let counts = &mut skipped;
    let fill = async |sink: Sink<ArchivePutRequest>| {
        sink.send(ArchivePutRequest { part: Some(archive_put_request::Part::Head(head)) }).await;
        let wrap = |data| ArchivePutRequest { part: Some(archive_put_request::Part::Data(data)) };
        let packed = send_folder(&sink, from.to_owned(), Rules::default(), u64::MAX, progress, wrap).await?;
        *counts = packed.skipped;
        Ok(())
    };
    let end = ArchivePutRequest { part: Some(archive_put_request::Part::End(true)) };
    let answer = upload(fill, end, |messages| files.archive_put(messages)).await?;
    say_skipped(skipped);
    say_refused(answer.summary.unwrap_or_default().xattrs_refused);
    Ok(())
}

fn say_skipped(skipped: u64) {
    if skipped > 0 {
        note(&format!("left out {skipped} sockets, pipes or devices, which no archive holds"));
    }
}

fn say_refused(xattrs: u64) {
    if xattrs > 0 {
        note(&format!("left out {xattrs} extended attributes, which the file system there does not take"));
    }
}

async fn to_stdout(files: &mut Files, from: Vec<u8>) -> Result<(), Failure> {
    use tokio::io::AsyncWriteExt as _;

    let mut stdout = tokio::io::stdout();
    // A bar would stand in the middle of what is printed.
    let progress = Progress::hidden();
    read_file(files, from.into(), &progress, async |page| stdout.write_all(&page).await.map_err(stdout_failure))
        .await?;
    stdout.flush().await.map_err(stdout_failure)
}

async fn from_project(files: &mut Files, from: &[u8], to: &Path) -> Result<(), Failure> {
    let Some(info) = stat(files, from).await? else {
        return Err(Failure::Fault(
            Fault::new(Reason::NotFound, format!("there is no {:?} in the project", String::from_utf8_lossy(from)))
                .hint("`remora fs ls` shows what is there"),
        ));
    };
    let there_is_folder = fs::metadata(to).is_ok_and(|metadata| metadata.is_dir());
    let contents = from.is_empty() || from == b"." || from.ends_with(b"/.");
    let target = match there_is_folder {
        true if !contents => to.join(std::ffi::OsStr::from_bytes(last_name(from)?)),
        _ => to.to_owned(),
    };
    if info.kind() == EntryKind::Directory {
        return get(files, from, &target).await;
    }
    if to.as_os_str().as_bytes().ends_with(b"/") && !there_is_folder {
        let error = io::ErrorKind::NotADirectory.into();
        return Err(Failure::Local { what: to.display().to_string(), error });
    }
    get_file(files, from, &info, target).await
}

async fn get_file(files: &mut Files, from: &[u8], info: &FileInfo, target: PathBuf) -> Result<(), Failure> {
    let progress = Progress::bytes(&target.display().to_string(), Some(info.size));
    let _line = ClearOnDrop(progress.clone());
    let shown = target.display().to_string();
    let modified = info.modified.map(|time| ModifiedAt { seconds: time.seconds, nanos: time.nanos.into() });
    let mode = info.mode;
    let (pages, content) = channel();
    let writer = tokio::task::spawn_blocking(move || save(&target, mode, modified, content));
    let read = read_file(files, Bytes::copy_from_slice(from), &progress, async |page| {
        // Where the writer failed its own words say why.
        pages.data(page).await;
        Ok(())
    })
    .await;
    match read {
        Ok(_) => pages.end().await,
        Err(_) => drop(pages),
    }
    let saved = writer.await.map_err(|error| Failure::Local { what: shown.clone(), error: io::Error::other(error) })?;
    read.and_then(|_| saved.map_err(Failure::local(shown)))
}

/// Writes the file whole under its name, or not at all.
fn save(target: &Path, mode: u32, modified: Option<ModifiedAt>, mut content: ChunkReader) -> io::Result<()> {
    use rustix::fs::{Mode, OFlags};

    let name = target.file_name().ok_or(io::ErrorKind::IsADirectory)?;
    let folder = match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // A terminal, a pipe or /dev/null is written to and not replaced.
    match fs::symlink_metadata(target) {
        Ok(metadata) if metadata.file_type().is_char_device() || metadata.file_type().is_fifo() => {
            let mut device = fs::OpenOptions::new().write(true).open(target)?;
            return io::copy(&mut content, &mut device).map(drop);
        }
        _ => {}
    }
    let folder = rustix::fs::open(folder, OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    write_file(&folder, name.as_bytes(), mode, modified, &[], &mut content).map(drop)
}

/// Brings a folder. Where there is none of that name, it appears when it is
/// whole; into one that is there, each file comes whole.
async fn get(files: &mut Files, from: &[u8], target: &Path) -> Result<(), Failure> {
    let shown = target.display().to_string();
    let progress = Progress::bytes(&format!("receiving {shown}"), None);
    let _line = ClearOnDrop(progress.clone());
    let path = Bytes::copy_from_slice(from);
    let summary = if fs::symlink_metadata(target).is_ok() {
        get_folder(files, path, target, &progress).await?
    } else {
        let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let staging = parent.join(format!(".remora-{}.part", Uuid::new_v4()));
        fs::create_dir(&staging).map_err(Failure::local(shown.clone()))?;
        let got = get_folder(files, path, &staging, &progress).await;
        let placed = got.and_then(|summary| {
            fs::rename(&staging, target).map_err(Failure::local(shown))?;
            Ok(summary)
        });
        if placed.is_err() {
            // Best effort: the failure that is reported is the one that matters.
            _ = fs::remove_dir_all(&staging);
        }
        placed?
    };
    let (unpacked, packed) = summary;
    say_skipped(packed.skipped);
    say_refused(unpacked.xattrs_refused);
    progress.clear();
    note(&format!("received {} entries, {}", unpacked.entries, bytes(unpacked.content_bytes)));
    Ok(())
}

fn last_name(path: &[u8]) -> Result<&[u8], Failure> {
    let name = path.split(|byte| *byte == b'/').rev().find(|name| !name.is_empty() && *name != b".");
    match name {
        Some(b"..") | None => Err(Failure::usage(
            format!("{:?} has no name of its own", String::from_utf8_lossy(path)),
            "name the file or folder, or write PATH/. for the content of a folder",
        )),
        Some(name) => Ok(name),
    }
}

fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = folder.to_vec();
    while path.last() == Some(&b'/') {
        path.pop();
    }
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_goes_into_a_folder() {
        assert_eq!(join(b"a/", b"b"), b"a/b");
        assert_eq!(join(b"", b"b"), b"b");
        assert_eq!(last_name(b"a/b/").unwrap(), b"b");
        assert_eq!(last_name(b"a/./").unwrap(), b"a");
        for path in [&b""[..], b"/", b"..", b"a/.."] {
            assert!(last_name(path).is_err(), "{path:?}");
        }
    }
}

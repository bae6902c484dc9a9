//! `remora source …`: the archive that a project starts from, by way of the store.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    path::PathBuf,
};

use clap::{Args, Subcommand, ValueHint};
use remora_proto::control::v1::{BeginSourceUploadRequest, CompleteSourceUploadRequest, SourceUpload};
use remora_proto_model::ProjectName;
use serde::Serialize;

use crate::{
    Context, Failure, clients,
    follow::domain,
    output::{OutputArgs, now_ms, print_one},
    project_name::project_name,
};

/// What a zstd stream begins with (RFC 8878, 3.1.1).
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// The verbs on the archive that a project starts from.
#[derive(Subcommand, Clone, Debug)]
pub enum SourceCommand {
    /// Print a URL by which whoever has it may bring the archive to the store, once.
    Url(UrlArgs),
    /// Give the project the archive that was brought; it starts from it.
    Complete(CompleteArgs),
}

/// Flags of `remora source url`.
#[derive(Args, Clone, Debug)]
pub struct UrlArgs {
    /// Name of the project, which was made with `remora up --no-source`.
    #[arg(value_parser = project_name)]
    name: ProjectName,
    /// The archive that will be brought: its length is what the store will take.
    #[arg(value_hint = ValueHint::FilePath, value_name = "ARCHIVE", required_unless_present = "bytes")]
    archive: Option<PathBuf>,
    /// Its length, where it is not here.
    #[arg(long, conflicts_with = "archive", value_name = "BYTES")]
    bytes: Option<u64>,
    /// It is a tar in a zstd stream and not a plain tar, where it is not here.
    #[arg(long, requires = "bytes")]
    zstd: bool,
    /// Seconds until the URL ends, at most 7 days.
    #[arg(long, default_value_t = 3_600, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=604_800))]
    ttl: u32,
    #[command(flatten)]
    output: OutputArgs,
}

/// Flags of `remora source complete`.
#[derive(Args, Clone, Debug)]
pub struct CompleteArgs {
    /// Name of the project.
    #[arg(value_parser = project_name)]
    name: ProjectName,
    /// The upload, as `remora source url` named it.
    upload: String,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Signed {
    upload: String,
    url: String,
    headers: std::collections::BTreeMap<String, String>,
    expires_ms: u64,
}

/// Runs one of them.
pub(crate) async fn run(context: &Context, command: SourceCommand) -> Result<(), Failure> {
    match command {
        SourceCommand::Url(args) => url(context, args).await,
        SourceCommand::Complete(args) => complete(context, args).await,
    }
}

/// Whether the archive in `file` is compressed, and its length.
pub(crate) fn look_at(file: &std::path::Path) -> Result<(File, bool, u64), Failure> {
    let shown = file.display().to_string();
    let mut open = File::open(file).map_err(Failure::local(shown.clone()))?;
    let metadata = open.metadata().map_err(Failure::local(shown.clone()))?;
    if !metadata.is_file() {
        return Err(Failure::usage(format!("{shown} is no file"), "give a tar or a tar.zst"));
    }
    let mut begin = Vec::new();
    std::io::Read::by_ref(&mut open)
        .take(ZSTD_MAGIC.len() as u64)
        .read_to_end(&mut begin)
        .map_err(Failure::local(shown.clone()))?;
    std::io::Seek::rewind(&mut open).map_err(Failure::local(shown))?;
    Ok((open, begin == ZSTD_MAGIC, metadata.len()))
}

async fn url(context: &Context, args: UrlArgs) -> Result<(), Failure> {
    let (zstd, bytes) = match &args.archive {
        Some(file) => look_at(file).map(|(_, zstd, bytes)| (zstd, bytes))?,
        None => (args.zstd, args.bytes.unwrap_or_default()),
    };
    let mut client = clients::projects(context).await?;
    let request = BeginSourceUploadRequest { name: args.name.to_string(), bytes, zstd, ttl_seconds: args.ttl };
    let SourceUpload { upload, url, headers, expires_ms } = client.begin_source_upload(request).await?.into_inner();
    let signed = Signed { upload, url, headers: headers.into_iter().collect(), expires_ms };
    let file = args.archive.as_ref().map_or_else(|| "ARCHIVE".to_owned(), |file| file.display().to_string());
    print_one(args.output.format, &signed, signed.url.as_bytes(), |text| {
        writeln!(text, "{}", signed.url)?;
        let seconds = expires_ms.saturating_sub(now_ms()).div_ceil(1_000);
        writeln!(text, "within {seconds} s, from anywhere:")?;
        let headers = signed.headers.iter().filter(|(name, _)| *name != "content-length");
        let headers: Vec<String> = headers.map(|(name, value)| format!("-H '{name}: {value}'")).collect();
        writeln!(text, "  curl -fT '{file}' {} 'URL'", headers.join(" "))?;
        writeln!(text, "then: remora source complete {} {}", args.name, signed.upload)
    })
}

async fn complete(context: &Context, args: CompleteArgs) -> Result<(), Failure> {
    let mut client = clients::projects(context).await?;
    let request = CompleteSourceUploadRequest { name: args.name.to_string(), upload: args.upload };
    let project = domain(client.complete_source_upload(request).await?.into_inner())?;
    super::status::show(args.output.format, &project)
}

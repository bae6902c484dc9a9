//! `remora open NAME`: an exposed port in the browser, as whoever calls.

use std::process::{Command, Stdio};

use clap::Args;
use remora_proto::control::v1::{MakeLinkRequest, MakeLinkResponse};
use remora_proto_model::{ContainerName, ProjectName};

use crate::{
    Context, Failure, clients,
    output::{escape, note, print, stdout_is_terminal},
    project_name::project_name,
};

/// What hands a URL to the person's browser.
const OPENER: &str = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };

/// Flags of `remora open`.
#[derive(Args, Clone, Debug)]
pub struct OpenArgs {
    /// Name of the project.
    #[arg(value_parser = project_name)]
    name: ProjectName,
    /// Name of the port; the only one that is exposed where none is given.
    #[arg(default_value = "", hide_default_value = true)]
    port: String,
    /// Container of the port, where several have one of that name.
    #[arg(short, long)]
    container: Option<ContainerName>,
    /// Path and query to begin with.
    #[arg(long, default_value = "/", value_parser = path)]
    path: String,
    /// Print the link alone. So it is as well where standard output is no terminal. It lets in whoever opens it within
    /// a minute.
    #[arg(long)]
    no_browser: bool,
}

fn path(text: &str) -> Result<String, String> {
    if text.starts_with('/') { Ok(text.to_owned()) } else { Err(format!("{text:?} is no path; it begins with '/'")) }
}

/// Runs the verb.
pub(crate) async fn run(context: &Context, args: OpenArgs) -> Result<(), Failure> {
    let mut client = clients::projects(context).await?;
    let request = MakeLinkRequest {
        project: args.name.to_string(),
        container: args.container.map(|name| name.to_string()).unwrap_or_default(),
        port: args.port,
        path: args.path,
    };
    let MakeLinkResponse { url, .. } = client.make_link(request).await?.into_inner();
    print(format!("{}\n", escape(&url)).as_bytes())?;
    if args.no_browser || !stdout_is_terminal() {
        return Ok(());
    }
    // What a server says becomes a word of another program's command line: an address, no option and no file.
    if !["https://", "http://"].iter().any(|scheme| url.starts_with(scheme)) {
        note("the link is none of the web, so no browser is started");
        return Ok(());
    }
    let started =
        Command::new(OPENER).arg(&url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    if let Err(error) = started {
        note(&format!("no browser is started ({OPENER}: {error}); open the link yourself, within a minute"));
    }
    Ok(())
}

//! The roles of the binary that serve: from the command line to the exit code.

use std::{
    io::{self, IsTerminal as _},
    path::PathBuf,
    process::ExitCode,
};

use remora_control_plane_cli::Context;
use remora_control_plane_runtime::Shutdown;
use remora_proto_serving::logging::{self, Style};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{
    config::{Config, ConfigError, ServeArgs, ServerArgs},
    limits::STOP_TIMEOUT,
    server::{self, Bound},
};

/// The configuration is wrong (sysexits.h, EX_CONFIG).
const EXIT_CONFIG: u8 = 78;
/// A port cannot be bound or the system refuses something else (EX_OSERR).
const EXIT_SYSTEM: u8 = 71;

/// `remora local`: writes the context, and takes the projects along when it ends.
pub async fn local(args: ServeArgs, context: Option<PathBuf>) -> ExitCode {
    let person = io::stderr().is_terminal();
    let told = async |bound: &Bound, ca_file: Option<PathBuf>| {
        let path = write_context(bound, ca_file, context)?;
        if person {
            banner(bound, &path);
        }
        Ok(())
    };
    serve(args.resolve(), if person { Style::Person } else { Style::Json }, Shutdown::StopWithin(STOP_TIMEOUT), told)
        .await
}

/// `remora server`: leaves the projects running when it ends.
pub async fn server(args: ServerArgs) -> ExitCode {
    serve(args.resolve(), Style::Json, Shutdown::LeaveRunning, async |_: &Bound, _| Ok(())).await
}

async fn serve(
    config: Result<Config, ConfigError>,
    style: Style,
    how: Shutdown,
    told: impl AsyncFnOnce(&Bound, Option<PathBuf>) -> Result<(), String>,
) -> ExitCode {
    let _logging = match logging::start(style) {
        Ok(logging) => logging,
        Err(error) => {
            eprintln!("remora: no thread for the log: {error}");
            return ExitCode::from(EXIT_SYSTEM);
        }
    };
    let config = match config {
        Ok(config) => config,
        Err(error) => {
            tracing::error!(%error, "the server does not start");
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    let ca_file = config.ca_file.clone();
    let (draining, hurry) = (CancellationToken::new(), CancellationToken::new());
    let started = async {
        let signals = signals(draining.clone(), hurry.clone()).map_err(|error| error.to_string())?;
        let bound = server::build(config, &draining).await.map_err(|error| error.to_string())?;
        told(&bound, ca_file).await?;
        bound.announce().map_err(|error| format!("--ready-file: {error}"))?;
        Ok::<_, String>((bound, signals))
    };
    match started.await {
        Ok((bound, signals)) => {
            tracing::info!(url = bound.addresses.url, store = bound.store_name, "serving");
            tokio::select! { () = bound.run(how, hurry) => {}, () = signals => {} }
            tracing::info!("ended");
            ExitCode::SUCCESS
        }
        Err(error) => {
            tracing::error!(error, "the server does not start");
            ExitCode::from(EXIT_SYSTEM)
        }
    }
}

/// The first signal ends the server in order, the second at once. Never returns.
fn signals(draining: CancellationToken, hurry: CancellationToken) -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        for (token, message) in [(draining, "told to stop; draining"), (hurry, "told to stop at once")] {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
            tracing::info!("{message}");
            token.cancel();
        }
        std::future::pending::<()>().await;
    })
}

/// So that the next command just works.
fn write_context(bound: &Bound, ca_file: Option<PathBuf>, path: Option<PathBuf>) -> Result<PathBuf, String> {
    let path = match path {
        Some(path) => path,
        None => Context::default_path().map_err(|error| error.to_string())?,
    };
    let known = Context::load(&path).ok().filter(|context| bound.knows(&context.api_key));
    let api_key = bound.admin_key.clone().or(known.map(|context| context.api_key)).ok_or_else(|| {
        format!(
            "{}: the server has an admin key and it is neither there nor in the data folder; put the file admin-key back",
            path.display()
        )
    })?;
    let context = Context { server: bound.addresses.url.clone(), api_key, ca_file };
    context.save(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(path)
}

fn banner(bound: &Bound, context: &std::path::Path) {
    eprintln!("Remora serves at {}", bound.addresses.url);
    if let Some(data_dir) = &bound.data_dir {
        eprintln!("  data     {}", data_dir.display());
    }
    eprintln!("  store    {}", bound.store_name);
    eprintln!("  context  {}", context.display());
    eprintln!();
    eprintln!("In another terminal, in the folder of a project:  remora up");
    eprintln!("Ctrl-C ends it and stops the projects; their work is kept.");
}

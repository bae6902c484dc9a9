//! The role `serve`: from the command line to the exit code.

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{app, config::ServeArgs};

/// The configuration is wrong (sysexits.h, EX_CONFIG).
const EXIT_CONFIG: u8 = 78;
/// A port cannot be bound or the system refuses something else (EX_OSERR).
const EXIT_SYSTEM: u8 = 71;

/// Serves until SIGTERM, SIGINT or a call of Drain.
pub async fn run(args: ServeArgs) -> ExitCode {
    let config = match args.resolve() {
        Ok(config) => config,
        Err(error) => {
            tracing::error!(%error, "the agent does not start");
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    let stop = CancellationToken::new();
    let served = async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let bound = app::build(config, &stop).await?;
        tracing::info!(grpc = %bound.addresses.grpc, metrics = %bound.addresses.metrics, "serving");
        let signals = async {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
            tracing::info!("told to stop; draining");
            stop.cancel();
            std::future::pending::<()>().await;
        };
        tokio::select! { () = bound.run() => {}, () = signals => {} }
        Ok::<_, std::io::Error>(())
    };
    match served.await {
        Ok(()) => {
            tracing::info!("drained");
            ExitCode::SUCCESS
        }
        Err(error) => {
            tracing::error!(%error, "the agent does not start");
            ExitCode::from(EXIT_SYSTEM)
        }
    }
}

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
        // First of all: without a handler the signal would end this process.
        let precopy = signal(SignalKind::user_defined1())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let bound = app::build(config, &stop).await?;
        tracing::info!(grpc = %bound.addresses.grpc, metrics = %bound.addresses.metrics, "serving");
        let signals = async {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
            stop.cancel();
            tracing::info!("told to stop; draining");
            std::future::pending::<std::io::Result<ExitCode>>().await
        };
        tokio::select! { code = bound.run(precopy) => Ok(code), never = signals => never }
    };
    match served.await {
        Ok(code) => {
            tracing::info!("drained");
            code
        }
        Err(error) => {
            tracing::error!(%error, "the agent does not start");
            ExitCode::from(EXIT_SYSTEM)
        }
    }
}

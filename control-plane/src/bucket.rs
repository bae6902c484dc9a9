//! An S3 server inside the process, over a folder, on a loopback port: the
//! store of whoever names no other.
//!
//! ```text
//!  PUT ─► incoming/<random> ─► fsync ─► link or rename into place ─► fsync of the folder ─► 200
//! ```
//!
//! The protocol (signatures, XML, errors) is the crate s3s; the objects are
//! [`objects`]. Not s3s-fs: it looks for the key and then writes, so that several
//! of 64 racers win an `If-None-Match`, and it answers before anything is on the
//! disk. The commit protocol of snapshots rests on both.
//!
//! Port and credentials are kept, so that agents which outlive this process find
//! the bucket again.

mod objects;
mod s3;
mod settings;
mod uploads;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use remora_proto_serving::limits::ACCEPT_BACKOFF;
use s3s::{
    auth::SimpleAuth,
    service::{S3Service, S3ServiceBuilder},
};
use tokio::{net::TcpListener, task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    limits::{HEADER_TIMEOUT, MAX_BUCKET_CONNECTIONS},
    private_file,
};

use self::{objects::Objects, s3::Served, settings::Settings};

/// The one bucket.
pub(crate) const BUCKET: &str = "remora";

/// Why the bucket cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BucketError {
    /// The folder is not usable.
    #[error("the bucket in {}: {source}", .folder.display())]
    Io {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The settings are there and cannot be read.
    #[error("{}: {problem}; put it back from a copy, or, where no project runs, remove it", .path.display())]
    Settings {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Something else listens on the port that agents know.
    #[error(
        "port {port} of the bucket is not free ({source}), and agents that still run know it by that port; end what listens there, or, where no project runs, remove {}",
        .settings.display()
    )]
    Port {
        /// The recorded port.
        port: u16,
        /// Where it is recorded.
        settings: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A bound bucket; [`Bucket::serve`] answers requests.
pub(crate) struct Bucket {
    listener: TcpListener,
    service: S3Service,
    address: SocketAddr,
    settings: Settings,
}

impl std::fmt::Debug for Bucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bucket").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Bucket {
    /// Opens the bucket kept in `folder` and binds its port: the recorded one,
    /// or at the first time a free one, which is recorded.
    pub(crate) async fn open(folder: &Path) -> Result<Self, BucketError> {
        let failed = |source| BucketError::Io { folder: folder.to_owned(), source };
        private_file::folder(folder).map_err(failed)?;
        let known = Settings::load(folder)?;
        let port = known.as_ref().map_or(0, |settings| settings.port);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(|source| match &known {
            Some(_) => BucketError::Port { port, settings: Settings::path(folder), source },
            None => failed(source),
        })?;
        // Not before the port is ours: a server that runs has files in there.
        let objects = Objects::open(folder).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let settings = match known {
            Some(settings) => settings,
            None => Settings::create(folder, address.port()).map_err(failed)?,
        };
        let mut builder = S3ServiceBuilder::new(Served::new(objects));
        builder.set_auth(SimpleAuth::from_single(settings.access_key.clone(), settings.secret_key.clone()));
        Ok(Bucket { listener, service: builder.build(), address, settings })
    }

    /// Where clients connect to.
    #[must_use]
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Access key id and secret.
    #[must_use]
    pub(crate) fn credentials(&self) -> (String, String) {
        (self.settings.access_key.clone(), self.settings.secret_key.clone())
    }

    /// Answers until `stop`; what is being written then is not acknowledged.
    pub(crate) async fn serve(self, stop: CancellationToken) {
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                // Full: those beyond wait in the kernel's queue.
                accepted = self.listener.accept(), if connections.len() < MAX_BUCKET_CONNECTIONS => accepted,
                Some(_) = connections.join_next() => continue,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "the bucket accepts no connection");
                    sleep(ACCEPT_BACKOFF).await;
                    continue;
                }
            };
            let service = self.service.clone();
            connections.spawn(async move {
                _ = stream.set_nodelay(true);
                let mut http1 = http1::Builder::new();
                http1.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
                if let Err(error) = http1.serve_connection(TokioIo::new(stream), service).await {
                    tracing::debug!(%error, "a connection to the bucket ended");
                }
            });
        }
    }
}

#[cfg(test)]
mod tests;

//! The shim's socket: private to one user, and only that user's processes get in.
//! The user's code can remove it; then it is made again.

use std::{
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use futures_util::stream::Stream;
use tokio::{
    net::{UnixListener, UnixStream},
    time::timeout,
};
use tracing::warn;

/// Rest after a failed accept: the usual cause, no descriptor left, passes by itself.
const ACCEPT_REST: Duration = Duration::from_millis(100);
/// How often is looked whether the socket is still there.
const LOOK: Duration = Duration::from_secs(1);

/// A socket that listens, and which one it is.
pub(super) struct Listening {
    listener: UnixListener,
    path: PathBuf,
    identity: Option<(u64, u64)>,
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::symlink_metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

/// Listens on `socket`; its folder is made private, or must be already.
pub(super) fn bind(socket: &Path) -> io::Result<Listening> {
    let folder = socket.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    match std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700)) {
        // The root of a pod's volume is root's and open to the pod: there the socket's own
        // mode, the peer's user and the secret keep strangers out.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && std::fs::metadata(folder)?.uid() == 0 => {}
        set => set?,
    }
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        // What a killed shim left behind; a living one has its own folder.
        _ => {}
    }
    let listener = UnixListener::bind(socket)?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600))?;
    Ok(Listening { listener, path: socket.to_owned(), identity: identity(socket) })
}

impl Listening {
    /// Makes the socket again where another or none is in its place.
    fn restore(&mut self) {
        if identity(&self.path) == self.identity {
            return;
        }
        match bind(&self.path) {
            Ok(fresh) => {
                warn!(socket = %self.path.display(), "the socket was removed; it is made again");
                *self = fresh;
            }
            Err(error) => warn!(%error, socket = %self.path.display(), "the removed socket cannot be made again"),
        }
    }

    async fn accept(&mut self) -> io::Result<UnixStream> {
        loop {
            match timeout(LOOK, self.listener.accept()).await {
                Ok(accepted) => return accepted.map(|(stream, _)| stream),
                Err(_) => self.restore(),
            }
        }
    }
}

/// Connections of this user's processes; others are closed at once.
pub(super) fn incoming(listening: Listening) -> impl Stream<Item = io::Result<UnixStream>> {
    futures_util::stream::unfold(listening, |mut listening| async {
        loop {
            match listening.accept().await {
                Ok(stream) if is_ours(&stream) => return Some((Ok(stream), listening)),
                Ok(_) => warn!("a connection of another user was closed"),
                Err(error) => {
                    warn!(%error, "accept failed");
                    tokio::time::sleep(ACCEPT_REST).await;
                }
            }
        }
    })
}

fn is_ours(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    // Root reaches everything anyway: an agent that runs as root may serve a shim that does not.
    stream.peer_cred().is_ok_and(|peer| peer.uid() == own || peer.uid() == 0)
}

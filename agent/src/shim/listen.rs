//! The shim's socket: private to one user, and only that user's processes get in.

use std::{
    io,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::Path,
    time::Duration,
};

use futures_util::stream::Stream;
use tokio::net::{UnixListener, UnixStream};
use tracing::warn;

/// Rest after a failed accept: the usual cause, no descriptor left, passes by itself.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// Listens on `socket`; its folder is made private, or must be already.
pub(super) fn bind(socket: &Path) -> io::Result<UnixListener> {
    let folder = socket.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700))?;
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        // What a killed shim left behind; a living one has its own folder.
        _ => {}
    }
    let listener = UnixListener::bind(socket)?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Connections of this user's processes; others are closed at once.
pub(super) fn incoming(listener: UnixListener) -> impl Stream<Item = io::Result<UnixStream>> {
    futures_util::stream::unfold(listener, |listener| async {
        loop {
            match listener.accept().await {
                Ok((stream, _)) if is_ours(&stream) => return Some((Ok(stream), listener)),
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

//! A way to a store that can be shut.

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::AbortHandle,
};

/// Passes connections on to the store while it is open; otherwise closes them.
pub struct Way {
    /// Where it listens.
    pub url: String,
    there: watch::Sender<bool>,
    task: AbortHandle,
}

impl Way {
    /// An open way to the store at `to`.
    pub async fn new(to: &str) -> Way {
        let to = to.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let url = format!("http://{}", listener.local_addr().expect("it listens"));
        let (there, _) = watch::channel(true);
        let state = there.clone();
        let task = tokio::spawn(async move {
            while let Ok((mut from, _)) = listener.accept().await {
                let mut state = state.subscribe();
                let to = to.clone();
                tokio::spawn(async move {
                    if !*state.borrow() {
                        return;
                    }
                    let Ok(mut on) = TcpStream::connect(to).await else { return };
                    tokio::select! {
                        _ = copy_bidirectional(&mut from, &mut on) => {}
                        _ = state.wait_for(|there| !*there) => {}
                    }
                });
            }
        });
        Way { url, there, task: task.abort_handle() }
    }

    /// Opens it, or shuts it with every connection that is there.
    pub fn open(&self, open: bool) {
        self.there.send_replace(open);
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.task.abort();
    }
}

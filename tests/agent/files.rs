//! Files over gRPC: a real agent, a workspace next to a secret, and a client
//! with a token.

use std::{
    fs,
    path::{Path, PathBuf},
};

use remora_proto::{
    agent::v1::{
        ReadRequest, WriteHead, WriteRequest, WriteResponse, file_service_client::FileServiceClient,
        write_request::Part,
    },
    fault::from_status,
    model::{Capability, Fault, Verb},
};
use remora_tests::{
    agent::{AgentProcess, serve_flags},
    pki::Pki,
};
use tempfile::TempDir;
use tonic::{
    Request, Response, Status,
    metadata::MetadataValue,
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel,
};

mod archive;
mod bad_input;
mod content;
mod kill;
mod paths;
mod prefix;
mod search;
mod watch;

type Client = FileServiceClient<InterceptedService<Channel, Bearer>>;

#[derive(Clone)]
struct Bearer(MetadataValue<tonic::metadata::Ascii>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// An agent that serves `in`, beside which lies `secret`.
struct Served {
    folder: TempDir,
    pki: Pki,
    agent: AgentProcess,
    client: Client,
}

impl Served {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("in")).unwrap();
        fs::write(folder.path().join("secret"), "outside").unwrap();
        fs::create_dir(folder.path().join("pki")).unwrap();
        let pki = Pki::new(&folder.path().join("pki"));
        let workspace = folder.path().join("in").display().to_string();
        let mut flags = serve_flags(&pki);
        flags.push(("--workspace".to_owned(), workspace));
        let agent = AgentProcess::with_flags(&flags).await;
        let client = client(&pki, &agent, &pki.capability(Verb::ALL)).await;
        Served { folder, pki, agent, client }
    }

    /// The workspace.
    fn base(&self) -> PathBuf {
        self.folder.path().join("in")
    }

    fn secret_is_untouched(&self) {
        assert_eq!(fs::read(self.folder.path().join("secret")).unwrap(), b"outside");
    }

    async fn write(&mut self, head: WriteHead, data: &[u8]) -> Result<WriteResponse, Fault> {
        let messages = upload(head, data);
        answer(self.client.write(tokio_stream::iter(messages)).await)
    }

    async fn put(&mut self, path: &[u8], data: &[u8]) -> WriteResponse {
        self.write(head(path), data).await.unwrap()
    }

    async fn get(&mut self, path: &[u8]) -> Result<Vec<u8>, Fault> {
        let request = ReadRequest { path: path.to_vec().into(), ..Default::default() };
        answer(self.client.read(request).await).map(|page| page.data.to_vec())
    }
}

async fn client(pki: &Pki, agent: &AgentProcess, capability: &Capability) -> Client {
    let bearer = Bearer(format!("Bearer {}", pki.token(capability)).parse().unwrap());
    FileServiceClient::with_interceptor(agent.channel(pki).await, bearer).max_decoding_message_size(4 << 20)
}

fn answer<T>(result: Result<Response<T>, Status>) -> Result<T, Fault> {
    result.map(Response::into_inner).map_err(|status| from_status(&status))
}

fn head(path: &[u8]) -> WriteHead {
    WriteHead { path: path.to_vec().into(), ..Default::default() }
}

fn upload(head: WriteHead, data: &[u8]) -> Vec<WriteRequest> {
    let data = data.chunks(100_000).map(|chunk| Part::Data(chunk.to_vec().into()));
    std::iter::once(Part::Head(head))
        .chain(data)
        .chain([Part::End(true)])
        .map(|part| WriteRequest { part: Some(part) })
        .collect()
}

/// The names in a directory, in order.
fn names(base: &Path) -> Vec<Vec<u8>> {
    use std::os::unix::ffi::OsStringExt as _;
    let mut names: Vec<_> = fs::read_dir(base).unwrap().map(|entry| entry.unwrap().file_name().into_vec()).collect();
    names.sort();
    names
}

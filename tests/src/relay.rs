//! The last part of a server's way to an agent, without the server: takes plain
//! connections on loopback and passes their bytes on over mutual TLS with the
//! control plane's certificate, so that the command line meets a real agent.

use std::{fs, net::SocketAddr, sync::Arc};

use rcgen::ExtendedKeyUsagePurpose;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
    },
};

use crate::pki::{CLIENT_SAN, Pki};

/// A relay to one agent. Ends when dropped.
pub struct Relay {
    /// Where it takes connections, as a URL.
    pub url: String,
    task: AbortHandle,
}

impl Relay {
    /// A relay to the agent at `grpc`.
    pub async fn start(grpc: SocketAddr, pki: &Pki) -> Relay {
        let pair = pki.issue(CLIENT_SAN, ExtendedKeyUsagePurpose::ClientAuth);
        let mut roots = RootCertStore::empty();
        let ca = fs::read(pki.path("ca.crt")).expect("the CA has a file");
        roots.add(CertificateDer::from_pem_slice(&ca).expect("the CA is PEM")).expect("a CA is a root");
        let certificate = CertificateDer::from_pem_slice(pair.certificate.as_bytes()).expect("a certificate in PEM");
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("a key in PEM");
        let mut tls = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![certificate], key)
            .expect("the key belongs to the certificate");
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let connector = TlsConnector::from(Arc::new(tls));
        let name = ServerName::try_from(pki.agent_name()).expect("an agent's name is a DNS name");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let url = format!("http://{}", listener.local_addr().expect("a bound socket has an address"));
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut plain, _)) = listener.accept().await {
                let (connector, name) = (connector.clone(), name.clone());
                connections.spawn(async move {
                    let stream = TcpStream::connect(grpc).await?;
                    let mut secured = connector.connect(name, stream).await?;
                    copy_bidirectional(&mut plain, &mut secured).await
                });
            }
        });
        Relay { url, task: task.abort_handle() }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

//! The way in from outside: through the cluster's ingress controller, over TLS, as a
//! browser or a program takes it.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http::{StatusCode, header};
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Error, Message, client::IntoClientRequest as _},
};

use crate::{
    patience::LOOK_PATIENCE,
    rest::{Answer, Connection, request_over},
    target::Target,
};

/// Longest wait for a connection and its handshake.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

/// Whoever comes in.
pub(crate) struct Visitor {
    address: String,
    connector: TlsConnector,
}

impl Visitor {
    /// One who takes any certificate that is for the name.
    pub(crate) fn new(target: &Target) -> Visitor {
        let provider = Arc::new(ring::default_provider());
        let named = Arc::new(Named(Arc::clone(&provider)));
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has what TLS needs")
            .dangerous()
            .with_custom_certificate_verifier(named)
            .with_no_client_auth();
        Visitor::with(target, config)
    }

    /// One who trusts `authority`, and nobody else.
    pub(crate) fn trusting(target: &Target, authority: CertificateDer<'static>) -> Visitor {
        let mut roots = RootCertStore::empty();
        roots.add(authority).expect("an authority has a certificate");
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has what TLS needs")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Visitor::with(target, config)
    }

    fn with(target: &Target, config: ClientConfig) -> Visitor {
        let address = target.ingress.clone().expect("a case for an ingress");
        Visitor { address, connector: TlsConnector::from(Arc::new(config)) }
    }

    /// A connection to the controller, which may be away.
    async fn try_connect(&self, host: &str) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned()).expect("a port's host is a name");
        let connected = async { self.connector.connect(name, TcpStream::connect(&self.address).await?).await };
        timeout(CONNECT_PATIENCE, connected).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    async fn connect(&self, host: &str) -> TlsStream<TcpStream> {
        self.try_connect(host).await.unwrap_or_else(|error| panic!("no connection with {host}: {error}"))
    }

    /// The certificate that it shows for `host`, which is for that name; or why it is not taken.
    pub(crate) async fn certificate(&self, host: &str) -> io::Result<CertificateDer<'static>> {
        let stream = self.try_connect(host).await?;
        let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        Ok(shown.expect("a server shows a certificate").clone().into_owned())
    }

    /// Asks for `target` of `host`.
    pub(crate) async fn call(&self, method: &str, host: &str, target: &str, headers: &[(&str, &str)]) -> Answer {
        self.send(method, host, target, headers, "").await
    }

    /// Sends `body` to `target` of `host`.
    pub(crate) async fn send(
        &self,
        method: &str,
        host: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let stream = self.connect(host).await;
        request_over(stream, method, target, &[&[("host", host)], headers].concat(), body).await
    }

    /// Asks for `/` of `host` over and over, on one connection: the first answer of `wanted`, if one
    /// of the first `most` is that.
    pub(crate) async fn until(&self, host: &str, wanted: StatusCode, most: usize) -> Option<Answer> {
        let mut connection = Connection::over(self.connect(host).await).await;
        for _ in 0..most {
            let answer = connection.request("GET", "/", &[("host", host)], "").await;
            if answer.status == wanted {
                return Some(answer);
            }
        }
        None
    }

    /// Opens a WebSocket, or hears with which status it is refused.
    pub(crate) async fn socket(&self, host: &str, headers: &[(&'static str, &str)]) -> Result<Socket, u16> {
        self.try_socket(host, headers).await.unwrap_or_else(|error| panic!("no connection with {host}: {error}"))
    }

    /// The same while the controller may be away.
    pub(crate) async fn try_socket(
        &self,
        host: &str,
        headers: &[(&'static str, &str)],
    ) -> io::Result<Result<Socket, u16>> {
        let stream = self.try_connect(host).await?;
        let mut request = format!("wss://{host}/").into_client_request().expect("a request");
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().expect("a header value"));
        }
        request.headers_mut().insert(header::HOST, host.parse().expect("a host"));
        match client_async(request, stream).await {
            Ok((socket, _)) => Ok(Ok(Socket(socket))),
            Err(Error::Http(response)) => Ok(Err(response.status().as_u16())),
            Err(error) => Err(io::Error::other(error)),
        }
    }
}

/// A WebSocket that stands.
pub(crate) struct Socket(WebSocketStream<TlsStream<TcpStream>>);

impl Socket {
    /// Returns once it has ended.
    pub(crate) async fn ended(&mut self) {
        let over = async { while let Some(Ok(_)) = self.0.next().await {} };
        timeout(LOOK_PATIENCE, over).await.expect("it ends in time");
    }

    /// Sends `text` and hears what comes back; nothing where the socket has ended.
    pub(crate) async fn echo(&mut self, text: &str) -> Option<String> {
        self.0.send(Message::text(text)).await.ok()?;
        loop {
            match timeout(LOOK_PATIENCE, self.0.next()).await.expect("an answer comes in time") {
                Some(Ok(Message::Text(text))) => return Some(text.to_string()),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => {}
            }
        }
    }
}

/// Takes the certificate of whoever can show one for the name that was called: whom
/// the cluster's operator trusts is none of the suite's business.
#[derive(Debug)]
struct Named(Arc<CryptoProvider>);

impl ServerCertVerifier for Named {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        verify_server_name(&ParsedCertificate::try_from(end_entity)?, name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

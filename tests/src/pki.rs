//! Certificates and tokens for one test, made anew each time.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use remora_proto::{
    capability::CapabilitySigner,
    model::{Capability, Generation, ProjectId, Verb},
};
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

/// The DNS name of the control plane's client certificate.
pub const CLIENT_SAN: &str = "control-plane.remora.internal";

/// A CA, the keys it vouches for, and the key that signs tokens.
pub struct Pki {
    /// The project that certificates and tokens are for.
    pub project: ProjectId,
    /// Its generation.
    pub generation: Generation,
    folder: PathBuf,
    ca: CertifiedIssuer<'static, KeyPair>,
    signer: CapabilitySigner,
}

/// A certificate with its private key, in PEM.
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// The private key.
    pub key: String,
}

impl Pki {
    /// A new CA whose files go into `folder`.
    pub fn new(folder: &Path) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names are valid names");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let key = KeyPair::generate().expect("the system's random source answers");
        let ca = CertifiedIssuer::self_signed(params, key).expect("a CA signs itself");
        let pki = Pki {
            project: ProjectId::new(),
            generation: Generation(3),
            folder: folder.to_owned(),
            ca,
            signer: CapabilitySigner::new(&CapabilitySigner::generate()).expect("a generated key is a key"),
        };
        let server = pki.issue(&pki.agent_name(), ExtendedKeyUsagePurpose::ServerAuth);
        pki.write("agent.crt", &server.certificate);
        pki.write("agent.key", &server.key);
        pki.write("ca.crt", &pki.ca.pem());
        pki.write("token.pub", &STANDARD.encode(pki.signer.public_key()));
        pki
    }

    /// A certificate for the DNS name `name`.
    pub fn issue(&self, name: &str, usage: ExtendedKeyUsagePurpose) -> Pair {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a DNS name");
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().expect("the system's random source answers");
        let certificate = params.signed_by(&key, &self.ca).expect("the CA signs");
        Pair { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    /// The client side of TLS with the certificate of a caller named `name`.
    pub fn client_tls(&self, name: &str) -> ClientTlsConfig {
        let pair = self.issue(name, ExtendedKeyUsagePurpose::ClientAuth);
        self.anonymous_tls().identity(Identity::from_pem(pair.certificate, pair.key))
    }

    /// The client side of TLS without a certificate.
    pub fn anonymous_tls(&self) -> ClientTlsConfig {
        ClientTlsConfig::new().ca_certificate(Certificate::from_pem(self.ca.pem())).domain_name(self.agent_name())
    }

    /// The DNS name in the agent's certificate.
    pub fn agent_name(&self) -> String {
        format!("g{}.{}.agent.remora.internal", self.generation, self.project)
    }

    /// What a token of this project may claim, to be changed by the test.
    pub fn capability(&self, verbs: &[Verb]) -> Capability {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Capability {
            sub: "test".to_owned(),
            aud: Capability::AUDIENCE.to_owned(),
            iat: now,
            exp: now + 600,
            jti: "test-1".to_owned(),
            project: self.project,
            generation: self.generation,
            verbs: verbs.to_vec(),
            path_prefix: None,
            containers: None,
        }
    }

    /// The token for `capability`.
    pub fn token(&self, capability: &Capability) -> String {
        self.signer.mint(capability)
    }

    /// A file of the CA: `agent.crt`, `agent.key`, `ca.crt`, `token.pub`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).expect("the test's folder takes files");
    }
}

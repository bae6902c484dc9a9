//! Who is who between server and agents: a CA made once, a certificate for each
//! generation's agent, the server's own client certificate, and the key that
//! signs capabilities.
//!
//! Certificates do not expire by the calendar: an agent's dies with its
//! generation, whose number stands in its name, and a laptop whose clock jumps
//! must not lock itself out of its own pods.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use redb::{ReadableTable as _, TableDefinition};
use remora_proto::capability::CapabilitySigner;
use remora_proto_model::{Capability, Fault, Generation, ProjectId, Reason};
use tonic::transport::{Certificate, ClientTlsConfig, Identity as TlsIdentity};

use crate::state::State;

/// The DNS name of the server's client certificate: the only caller that agents let in.
pub const CLIENT_SAN: &str = "control-plane.remora.internal";

/// Secrets of the server, each made once.
const IDENTITY: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("identity");
/// Row: the CA's key, PKCS#8 DER.
const CA_KEY: &str = "ca-key";
/// Row: the CA's certificate in PEM, signed once so that it stays the same bytes.
const CA_CERTIFICATE: &str = "ca-certificate";
/// Row: the key that signs capabilities, PKCS#8 DER.
const TOKEN_KEY: &str = "token-key";

/// A certificate with its key, in PEM.
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

/// See the module.
pub struct Identity {
    ca: rcgen::Issuer<'static, KeyPair>,
    ca_certificate: String,
    client: Pair,
    signer: CapabilitySigner,
    session_key: [u8; 32],
}

/// What the key of sessions is for: another secret of the same seed has other words here.
const SESSIONS: &str = "remora.dev 2026-11-26 sessions of browsers with exposed ports";

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Nothing of its keys: this ends in logs.
        f.write_str("Identity")
    }
}

impl Identity {
    /// The identity that is stored, made at the first time.
    pub(crate) async fn open(state: &State) -> Result<Identity, Fault> {
        let fresh = Material::fresh()?;
        let material = state
            .write(move |transaction| {
                let mut table = transaction.open_table(IDENTITY)?;
                let found: Vec<Option<Vec<u8>>> = [CA_KEY, CA_CERTIFICATE, TOKEN_KEY]
                    .iter()
                    .map(|row| Ok(table.get(*row)?.map(|bytes| bytes.value().to_vec())))
                    .collect::<Result<_, redb::StorageError>>()?;
                if let [Some(ca_key), Some(ca_certificate), Some(token_key)] = found.as_slice() {
                    return Ok(Material {
                        ca_key: ca_key.clone(),
                        ca_certificate: ca_certificate.clone(),
                        token_key: token_key.clone(),
                    });
                }
                table.insert(CA_KEY, fresh.ca_key.as_slice())?;
                table.insert(CA_CERTIFICATE, fresh.ca_certificate.as_slice())?;
                table.insert(TOKEN_KEY, fresh.token_key.as_slice())?;
                Ok(fresh)
            })
            .await?;
        Identity::of(material)
    }

    /// The identity of secrets that are kept somewhere.
    pub fn of(material: Material) -> Result<Identity, Fault> {
        let Material { ca_key, ca_certificate, token_key } = material;
        let key = KeyPair::try_from(ca_key.as_slice()).map_err(unusable)?;
        let ca = rcgen::Issuer::new(ca_params(), key);
        let client = issue(&ca, CLIENT_SAN, ExtendedKeyUsagePurpose::ClientAuth).map_err(unusable)?;
        let ca_certificate = String::from_utf8(ca_certificate).map_err(unusable)?;
        let session_key = blake3::derive_key(SESSIONS, &token_key);
        Ok(Identity { ca, ca_certificate, client, signer: CapabilitySigner::new(&token_key)?, session_key })
    }

    /// The certificate of the CA, in PEM.
    pub fn ca_certificate(&self) -> &str {
        &self.ca_certificate
    }

    /// The 32 bytes that verify capabilities.
    pub fn token_key(&self) -> &[u8] {
        self.signer.public_key()
    }

    /// The secret with which sessions of browsers are signed; replicas have the same one.
    pub(crate) fn session_key(&self) -> [u8; 32] {
        self.session_key
    }

    /// A certificate for the agent of one generation.
    pub fn agent(&self, project: ProjectId, generation: Generation) -> Result<Pair, Fault> {
        issue(&self.ca, &agent_name(project, generation), ExtendedKeyUsagePurpose::ServerAuth).map_err(unusable)
    }

    /// The server's side of a connection to that agent.
    pub(crate) fn client_tls(&self, project: ProjectId, generation: Generation) -> ClientTlsConfig {
        ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&self.ca_certificate))
            .identity(TlsIdentity::from_pem(&self.client.certificate, &self.client.key))
            .domain_name(agent_name(project, generation))
    }

    /// The token for `capability`.
    pub(crate) fn mint(&self, capability: &Capability) -> String {
        self.signer.mint(capability)
    }
}

/// The DNS name of an agent's certificate.
fn agent_name(project: ProjectId, generation: Generation) -> String {
    format!("g{generation}.{project}.agent.remora.internal")
}

/// The secrets of an identity.
#[derive(Clone, PartialEq, Eq)]
pub struct Material {
    /// The CA's key, PKCS#8 DER.
    pub ca_key: Vec<u8>,
    /// The CA's certificate in PEM, signed once so that it stays the same bytes.
    pub ca_certificate: Vec<u8>,
    /// The key that signs capabilities, PKCS#8 DER.
    pub token_key: Vec<u8>,
}

impl Material {
    /// New ones.
    pub fn fresh() -> Result<Material, Fault> {
        let made = || {
            let key = KeyPair::generate()?;
            let ca_key = key.serialize_der();
            let ca = CertifiedIssuer::self_signed(ca_params(), key)?;
            Ok::<_, rcgen::Error>((ca_key, ca.pem().into_bytes()))
        };
        let (ca_key, ca_certificate) = made().map_err(unusable)?;
        Ok(Material { ca_key, ca_certificate, token_key: CapabilitySigner::generate() })
    }
}

fn ca_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "Remora");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn issue(
    ca: &rcgen::Issuer<'static, KeyPair>,
    name: &str,
    usage: ExtendedKeyUsagePurpose,
) -> Result<Pair, rcgen::Error> {
    let mut params = CertificateParams::new(vec![name.to_owned()])?;
    params.extended_key_usages = vec![usage];
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, ca)?;
    Ok(Pair { certificate: certificate.pem(), key: key.serialize_pem() })
}

fn unusable(error: impl std::fmt::Display) -> Fault {
    Fault::new(Reason::Internal, format!("the server's identity cannot be used: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let mut seen = Vec::new();
        for _ in 0..2 {
            let state = State::open(folder.path()).await.unwrap();
            let identity = Identity::open(&state).await.unwrap();
            seen.push((identity.ca_certificate().to_owned(), identity.token_key().to_vec()));
        }
        assert_eq!(seen[0], seen[1]);
    }
}

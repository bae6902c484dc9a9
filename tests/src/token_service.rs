//! A store that gives credentials for tokens: SeaweedFS with its token service
//! (STS), which trusts an issuer of this process.

use std::sync::OnceLock;

use serde_json::json;

use crate::{
    issuer::{AUDIENCE, Claims, Issuer},
    s3_server::S3Server,
    seaweed::{BUCKET, with_iam},
};

/// The role that may use the bucket.
pub const ROLE_ARN: &str = "arn:aws:iam::role/snapshots";
/// A project's ServiceAccount, which the role trusts.
pub const PROJECT: &str = "system:serviceaccount:proj-3f0c9a52-8d1b-4a77-9a0e-6b1d6c1f2e44:project";
/// Somebody else's, which it does not.
pub const STRANGER: &str = "system:serviceaccount:default:default";

/// Life of the credentials that it gives, in seconds. The SDK asks for new ones
/// 5 to 10 seconds before they run out, so that a test sees it do so.
const CREDENTIALS_SECONDS: u64 = 12;
/// Life of a good token, in seconds: longer than any test.
const TOKEN_SECONDS: i64 = 3_600;

/// See the module.
#[derive(Debug)]
pub struct TokenService {
    /// The store; its token service has the same URL.
    pub store: S3Server,
    issuer: Issuer,
}

/// The one of this process, started at the first call.
pub fn token_service() -> &'static TokenService {
    static SERVICE: OnceLock<TokenService> = OnceLock::new();
    SERVICE.get_or_init(|| start().unwrap_or_else(|error| panic!("SeaweedFS with STS did not start: {error:#}")))
}

fn start() -> anyhow::Result<TokenService> {
    let issuer = Issuer::start()?;
    let settings = json!({
        "sts": {
            "tokenDuration": format!("{CREDENTIALS_SECONDS}s"), "maxSessionLength": "1h", "issuer": "remora-tests",
            "signingKey": "cmVtb3JhLXRlc3RzLXNpZ25pbmcta2V5LTMyLWJ5dGVzISE=",
        },
        "providers": [{
            "name": "cluster", "type": "oidc", "enabled": true,
            "config": {"issuer": issuer.url, "clientId": AUDIENCE},
        }],
        "policy": {"defaultEffect": "Deny", "storeType": "memory"},
        "policies": [{
            "name": "bucket",
            "document": {"Version": "2012-10-17", "Statement": [{
                "Effect": "Allow", "Action": ["s3:*"],
                "Resource": [format!("arn:aws:s3:::{BUCKET}"), format!("arn:aws:s3:::{BUCKET}/*")],
            }]},
        }],
        "roles": [{
            "roleName": "snapshots", "roleArn": ROLE_ARN, "attachedPolicies": ["bucket"],
            "trustPolicy": {"Version": "2012-10-17", "Statement": [{
                "Effect": "Allow", "Principal": {"Federated": "cluster"}, "Action": ["sts:AssumeRoleWithWebIdentity"],
                "Condition": {"StringLike": {"oidc:sub": "system:serviceaccount:proj-*:project"}},
            }]},
        }],
    });
    Ok(TokenService { store: with_iam(&settings)?, issuer })
}

impl TokenService {
    /// A good token of `subject`.
    pub fn token(&self, subject: &str) -> String {
        self.token_with(&Claims { subject: subject.to_owned(), audience: AUDIENCE.to_owned(), lifetime: TOKEN_SECONDS })
    }

    /// A token of its issuer that says `claims`.
    pub fn token_with(&self, claims: &Claims) -> String {
        self.issuer.token(claims)
    }
}

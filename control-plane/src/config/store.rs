//! Where snapshots go, and what opens the store.

use std::path::{self, PathBuf};

use clap::{Args, ValueHint};
use remora_control_plane_runtime::{StoreCredentials, StoreEndpoint, WebIdentity};

use super::ConfigError;

/// Shortest and longest ARN of a role, in bytes (AssumeRoleWithWebIdentity, "RoleArn").
const ROLE_ARN_BYTES: std::ops::RangeInclusive<usize> = 20..=2_048;

/// Where snapshots go.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Store (without a bucket: one in the data folder)")]
pub(super) struct StoreArgs {
    /// Bucket of an S3-compatible store; it must exist.
    #[arg(long, env = "REMORA_S3_BUCKET", value_name = "NAME")]
    s3_bucket: Option<String>,
    /// URL of the store; without it AWS.
    #[arg(long, env = "REMORA_S3_ENDPOINT", requires = "s3_bucket", value_name = "URL")]
    s3_endpoint: Option<String>,
    /// URL of the store as callers reach it, in the URLs that are signed for them; without it --s3-endpoint.
    #[arg(long, env = "REMORA_S3_PUBLIC_ENDPOINT", requires = "s3_bucket", value_name = "URL")]
    s3_public_endpoint: Option<String>,
    /// Region that requests are signed for.
    #[arg(long, env = "REMORA_S3_REGION", default_value = "us-east-1", value_name = "NAME")]
    s3_region: String,
    /// What every key begins with.
    #[arg(long, env = "REMORA_S3_PREFIX", default_value = "", value_name = "PREFIX")]
    s3_prefix: String,
    /// Name the bucket in the path and not in the host; most stores other than AWS want it.
    #[arg(long, env = "REMORA_S3_PATH_STYLE")]
    s3_path_style: bool,
    /// Access key id.
    #[arg(long, env = "AWS_ACCESS_KEY_ID", value_name = "ID")]
    s3_access_key_id: Option<String>,
    /// Its secret; from the environment, since other users see flags.
    #[arg(long, env = "AWS_SECRET_ACCESS_KEY", hide_env_values = true, hide = true, value_name = "SECRET")]
    s3_secret_access_key: Option<String>,
    /// Role to take with a token (web identity), in place of an access key.
    #[arg(long, env = "REMORA_S3_ROLE_ARN", requires = "s3_bucket", value_name = "ARN")]
    s3_role_arn: Option<String>,
    /// File with the token, which is replaced before it expires.
    #[arg(
        long,
        env = "AWS_WEB_IDENTITY_TOKEN_FILE",
        value_hint = ValueHint::FilePath,
        value_name = "FILE"
    )]
    s3_token_file: Option<PathBuf>,
    /// Audience of the tokens that the cluster makes for agents.
    #[arg(long, env = "REMORA_S3_TOKEN_AUDIENCE", default_value = "sts.amazonaws.com", value_name = "NAME")]
    s3_token_audience: String,
    /// URL of the token service (STS) that gives the role; without it AWS.
    #[arg(long, env = "REMORA_S3_STS_ENDPOINT", requires = "s3_role_arn", value_name = "URL")]
    s3_sts_endpoint: Option<String>,
}

impl StoreArgs {
    /// Checks the settings; `None` is the bucket in the data folder.
    pub(super) fn resolve(self) -> Result<Option<StoreEndpoint>, ConfigError> {
        let StoreArgs {
            s3_bucket,
            s3_endpoint,
            s3_public_endpoint,
            s3_region,
            s3_prefix,
            s3_path_style,
            s3_access_key_id,
            s3_secret_access_key,
            s3_role_arn,
            s3_token_file,
            s3_token_audience,
            s3_sts_endpoint,
        } = self;
        let Some(bucket) = s3_bucket else { return Ok(None) };
        check_url("--s3-endpoint", s3_endpoint.as_deref())?;
        check_url("--s3-public-endpoint", s3_public_endpoint.as_deref())?;
        // A variable that is empty says as much as none.
        let given = |key: Option<String>| key.filter(|key| !key.is_empty());
        let credentials = match (s3_role_arn, given(s3_access_key_id), given(s3_secret_access_key)) {
            (Some(role_arn), None, None) => {
                check_url("--s3-sts-endpoint", s3_sts_endpoint.as_deref())?;
                let identity = WebIdentity {
                    role_arn,
                    token_file: token_file(s3_token_file)?,
                    audience: s3_token_audience,
                    sts_endpoint: s3_sts_endpoint,
                };
                check_identity(&identity, s3_endpoint.as_deref())?;
                StoreCredentials::WebIdentity(identity)
            }
            (Some(role), ..) => {
                return Err(ConfigError::Setting(format!(
                    "--s3-role-arn {role}: AWS_ACCESS_KEY_ID or AWS_SECRET_ACCESS_KEY is set as well; a store is opened with a role or with keys, so unset one of them"
                )));
            }
            (None, Some(access_key), Some(secret_key)) => StoreCredentials::Keys { access_key, secret_key },
            (None, ..) => {
                return Err(ConfigError::Setting(format!(
                    "--s3-bucket {bucket}: the store's credentials are missing; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a role with --s3-role-arn that a token opens (web identity)"
                )));
            }
        };
        Ok(Some(StoreEndpoint {
            endpoint: s3_endpoint,
            public_endpoint: s3_public_endpoint,
            bucket,
            region: s3_region,
            path_style: s3_path_style,
            credentials,
            prefix: s3_prefix.trim_matches('/').to_owned(),
        }))
    }
}

fn check_url(flag: &str, url: Option<&str>) -> Result<(), ConfigError> {
    let Some(text) = url else { return Ok(()) };
    let url = text.parse::<http::Uri>().ok();
    if url.is_some_and(|url| matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some()) {
        return Ok(());
    }
    Err(ConfigError::Setting(format!("{flag}: {text:?} is no URL such as https://s3.example.com")))
}

/// The file's path, which agents of this machine get too, wherever they start.
fn token_file(given: Option<PathBuf>) -> Result<PathBuf, ConfigError> {
    let Some(path) = given else {
        return Err(ConfigError::Setting(
            "--s3-role-arn: the token that opens the role is missing; say with --s3-token-file or AWS_WEB_IDENTITY_TOKEN_FILE where it is".to_owned(),
        ));
    };
    let read = path::absolute(&path).and_then(|path| std::fs::read(&path).map(|_| path));
    read.map_err(|error| ConfigError::File { flag: "--s3-token-file", path, problem: error.to_string() })
}

fn check_identity(identity: &WebIdentity, endpoint: Option<&str>) -> Result<(), ConfigError> {
    let WebIdentity { role_arn, audience, sts_endpoint, .. } = identity;
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    if !(role_arn.starts_with("arn:") && ROLE_ARN_BYTES.contains(&role_arn.len()) && plain(role_arn)) {
        return Err(ConfigError::Setting(format!(
            "--s3-role-arn: {role_arn:?} is no ARN of a role such as arn:aws:iam::123456789012:role/snapshots"
        )));
    }
    if audience.is_empty() || !plain(audience) {
        return Err(ConfigError::Setting(format!(
            "--s3-token-audience: {audience:?} is no audience such as sts.amazonaws.com"
        )));
    }
    // The token opens the role for whoever has it, so it goes to nobody by accident.
    if let (Some(store), None) = (endpoint.filter(|url| !is_aws(url)), sts_endpoint) {
        return Err(ConfigError::Setting(format!(
            "--s3-role-arn: the store {store} is not AWS, so say with --s3-sts-endpoint which token service gives the role; MinIO, Ceph and SeaweedFS do it at the store's own URL"
        )));
    }
    Ok(())
}

fn is_aws(url: &str) -> bool {
    let host = url.parse::<http::Uri>().ok().and_then(|url| url.host().map(str::to_ascii_lowercase));
    host.is_some_and(|host| host.ends_with(".amazonaws.com") || host.ends_with(".amazonaws.com.cn"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        store: StoreArgs,
    }

    const ROLE: [&str; 4] = ["--s3-bucket", "b", "--s3-role-arn", "arn:aws:iam::123456789012:role/snapshots"];

    fn resolve(line: &[&str]) -> Result<StoreEndpoint, String> {
        let cli = Cli::try_parse_from([&["remora"], line].concat()).map_err(|error| error.to_string())?;
        cli.store.resolve().map(Option::unwrap).map_err(|error| error.to_string())
    }

    fn refused(words: &str, line: &[&str]) {
        let error = resolve(line).unwrap_err();
        assert!(error.contains(words), "{line:?}: {error}");
    }

    #[test]
    fn a_store_is_opened_with_keys_or_with_a_role() {
        let folder = tempfile::tempdir().unwrap();
        let token = folder.path().join("token");
        std::fs::write(&token, "a.b.c").unwrap();
        let token = ["--s3-token-file", token.to_str().unwrap()];
        refused("or name a role with --s3-role-arn", &["--s3-bucket", "b"]);
        refused("AWS_SECRET_ACCESS_KEY", &["--s3-bucket", "b", "--s3-access-key-id", "x"]);
        refused(
            "credentials are missing",
            &["--s3-bucket", "b", "--s3-access-key-id", "x", "--s3-secret-access-key", ""],
        );
        refused("--s3-role-arn", &["--s3-bucket", "b", "--s3-sts-endpoint", "https://sts.example.com"]);
        refused("say with --s3-token-file", &ROLE);
        refused("--s3-token-file: /none: No such file", &[&ROLE[..], &["--s3-token-file", "/none"]].concat());
        let role = [&ROLE[..], &token].concat();
        refused("is set as well", &[&role[..], &["--s3-access-key-id", "x"]].concat());
        refused("no ARN of a role", &[&["--s3-bucket", "b", "--s3-role-arn", "snapshots"], &token[..]].concat());
        refused("no audience", &[&role[..], &["--s3-token-audience", ""]].concat());
        refused("--s3-sts-endpoint: \"sts:443\" is no URL", &[&role[..], &["--s3-sts-endpoint", "sts:443"]].concat());
        let StoreCredentials::WebIdentity(identity) = resolve(&role).unwrap().credentials else { panic!("a role") };
        assert_eq!((identity.audience.as_str(), identity.sts_endpoint), ("sts.amazonaws.com", None));
    }

    /// The token goes to the token service that the store belongs to.
    #[test]
    fn a_token_is_not_sent_to_aws_for_a_store_that_is_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let token = folder.path().join("token");
        std::fs::write(&token, "a.b.c").unwrap();
        let role = [&ROLE[..], &["--s3-token-file", token.to_str().unwrap(), "--s3-endpoint"]].concat();
        refused("--s3-sts-endpoint", &[&role[..], &["https://minio.example.com"]].concat());
        refused("--s3-sts-endpoint", &[&role[..], &["https://notamazonaws.com"]].concat());
        let minio = ["https://minio.example.com", "--s3-sts-endpoint", "https://minio.example.com"];
        resolve(&[&role[..], &minio].concat()).unwrap();
        resolve(&[&role[..], &["https://s3.eu-central-1.amazonaws.com"]].concat()).unwrap();
    }
}

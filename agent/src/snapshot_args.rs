//! The settings of the snapshot store: the same for `serve`, `hydrate` and
//! `dehydrate`.

use std::{fs::File, io::Read as _, path::PathBuf, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use remora_agent_snapshot::store::{RetryingStore, S3Settings, S3Store, Store, probe};
use remora_proto_model::{Fault, Reason};

/// Length of a key for AES-256-GCM, in bytes.
const KEY_BYTES: usize = 32;

/// Longest key file that is read, in bytes: base64 of the key and some white space.
const MAX_KEY_FILE_BYTES: u64 = 256;

/// Where the snapshots of this project are. Credentials come from the AWS
/// environment variables and never from flags, which every process can read.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Snapshots")]
pub struct SnapshotArgs {
    /// Bucket of the snapshots; without it there are none
    #[arg(long, env = "REMORA_S3_BUCKET", value_name = "NAME")]
    pub s3_bucket: Option<String>,
    /// URL of the S3 endpoint; without it AWS
    #[arg(long, env = "REMORA_S3_ENDPOINT", value_name = "URL", requires = "s3_bucket")]
    pub s3_endpoint: Option<String>,
    /// Region that requests are signed for
    #[arg(long, env = "REMORA_S3_REGION", value_name = "REGION", default_value = "us-east-1")]
    pub s3_region: String,
    /// What the keys of this project's lineage begin with
    #[arg(long, env = "REMORA_S3_PREFIX", value_name = "PREFIX", default_value = "")]
    pub s3_prefix: String,
    /// Put the bucket into the path and not into the host name
    #[arg(long, env = "REMORA_S3_PATH_STYLE")]
    pub s3_path_style: bool,
    /// File with the base64 of the 32-byte key that wraps the lineage's data key; without it contents are not encrypted
    #[arg(long, env = "REMORA_ENCRYPTION_KEY_FILE", value_name = "FILE", requires = "s3_bucket")]
    pub encryption_key_file: Option<PathBuf>,
    /// Leave out what matches (as in .remoraignore); repeatable
    #[arg(long, value_name = "GLOB")]
    pub exclude: Vec<String>,
}

impl SnapshotArgs {
    /// The store, probed for atomic conditional puts; `None` where no bucket was given.
    pub async fn open(&self) -> Result<Option<Arc<dyn Store>>, Fault> {
        let Some(bucket) = &self.s3_bucket else { return Ok(None) };
        let settings = S3Settings {
            bucket: bucket.clone(),
            endpoint: self.s3_endpoint.clone(),
            region: self.s3_region.clone(),
            prefix: self.s3_prefix.clone(),
            path_style: self.s3_path_style,
            credentials: None,
        };
        let store = RetryingStore::new(Arc::new(S3Store::open(settings).await?));
        probe(&store).await?;
        Ok(Some(Arc::new(store)))
    }

    /// The key that wraps the lineage's data key; `None` where none was given.
    pub fn encryption_key(&self) -> Result<Option<[u8; KEY_BYTES]>, Fault> {
        let Some(path) = &self.encryption_key_file else { return Ok(None) };
        let invalid = |problem: String| {
            Fault::new(Reason::KeyMissing, format!("encryption key file {}: {problem}", path.display()))
                .hint("write the base64 of 32 random bytes into it, for example with: openssl rand -base64 32")
        };
        let mut text = String::new();
        File::open(path)
            .and_then(|file| file.take(MAX_KEY_FILE_BYTES).read_to_string(&mut text))
            .map_err(|error| invalid(error.to_string()))?;
        // The text itself is a secret: no message repeats any of it.
        let bytes = STANDARD.decode(text.trim()).map_err(|_| invalid("is no base64".to_owned()))?;
        let length = bytes.len();
        let key = bytes.try_into().map_err(|_| invalid(format!("holds {length} bytes; a key has {KEY_BYTES}")))?;
        Ok(Some(key))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Command {
        #[command(flatten)]
        snapshots: SnapshotArgs,
    }

    fn parse(args: &[&str]) -> Result<SnapshotArgs, clap::Error> {
        Command::try_parse_from([&["agent"], args].concat()).map(|command| command.snapshots)
    }

    #[tokio::test]
    async fn without_a_bucket_there_is_no_store() {
        let args = parse(&[]).unwrap();
        assert!(args.open().await.unwrap().is_none());
        assert_eq!(args.encryption_key(), Ok(None));
        assert!(parse(&["--s3-endpoint", "http://127.0.0.1:9"]).is_err());
    }

    #[test]
    fn a_key_file_must_hold_a_key_and_is_never_quoted() {
        let folder = std::env::temp_dir().join(format!("remora-key-{}", std::process::id()));
        let read = |text: Option<&str>| {
            let _ = std::fs::remove_file(&folder);
            if let Some(text) = text {
                std::fs::write(&folder, text).unwrap();
            }
            let path = folder.to_str().unwrap();
            parse(&["--s3-bucket", "b", "--encryption-key-file", path]).unwrap().encryption_key()
        };
        assert_eq!(read(Some(&format!("{}\n", STANDARD.encode([7; 32])))), Ok(Some([7; 32])));
        for bad in [None, Some(""), Some("!secret!"), Some("c2VjcmV0"), Some("a".repeat(400).as_str())] {
            let fault = read(bad).unwrap_err();
            assert_eq!(fault.reason, Reason::KeyMissing);
            assert!(!fault.to_string().contains("secret") && !fault.to_string().contains("c2Vj"), "{fault}");
        }
        let _ = std::fs::remove_file(&folder);
    }
}

//! SeaweedFS: the S3 server that most tests use.

use std::{fs, sync::OnceLock};

use serde_json::Value;

pub use crate::s3_server::{ACCESS_KEY, BUCKET, SECRET_KEY, fresh_prefix};
use crate::s3_server::{S3Server, binary, folder, free_ports, run};

/// The server of this process, started at the first call.
pub fn seaweed() -> &'static S3Server {
    static SERVER: OnceLock<S3Server> = OnceLock::new();
    SERVER.get_or_init(|| start(None).unwrap_or_else(|error| panic!("SeaweedFS did not start: {error:#}")))
}

/// Another server, with roles and whom they trust as in `settings`.
pub(crate) fn with_iam(settings: &Value) -> anyhow::Result<S3Server> {
    start(Some(settings))
}

fn start(iam: Option<&Value>) -> anyhow::Result<S3Server> {
    let weed = binary("seaweed.sh")?;
    let folder = folder()?;
    let names = [
        "master.port",
        "master.port.grpc",
        "filer.port",
        "filer.port.grpc",
        "volume.port",
        "volume.port.grpc",
        "s3.port",
        "s3.port.grpc",
        "s3.port.iceberg",
        "s3.port.lance",
        "admin.port",
    ];
    let ports = free_ports(names.len())?;
    let endpoint = format!("http://127.0.0.1:{}", ports[6]);
    let iam = iam.map(|settings| (folder.join("iam.json"), settings.to_string()));
    if let Some((path, text)) = &iam {
        fs::write(path, text)?;
    }
    let data = folder.clone();
    let pid = run("SeaweedFS", &weed, folder, move |command| {
        command.arg("mini").arg("-dir").arg(&data);
        for (name, port) in names.iter().zip(&ports) {
            command.arg(format!("-{name}={port}"));
        }
        command.args(iam.map(|(path, _)| format!("-s3.iam.config={}", path.display())));
        command
            .args(["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-admin.ui=false", "-webdav=false", "-bucket", BUCKET])
            .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
    })?;
    Ok(S3Server { name: "SeaweedFS", endpoint, pid })
}

//! versitygw: the second S3 server. Its objects are files of a folder, and what makes
//! a conditional put atomic has nothing in common with SeaweedFS.

use std::{fs, sync::OnceLock};

use crate::s3_server::{ACCESS_KEY, BUCKET, S3Server, SECRET_KEY, binary, folder, free_ports, run};

/// The server of this process, started at the first call.
pub fn versitygw() -> &'static S3Server {
    static SERVER: OnceLock<S3Server> = OnceLock::new();
    SERVER.get_or_init(|| start().unwrap_or_else(|error| panic!("versitygw did not start: {error:#}")))
}

fn start() -> anyhow::Result<S3Server> {
    let program = binary("versitygw.sh")?;
    let folder = folder()?;
    let data = folder.join("data");
    // A folder of the folder is a bucket.
    fs::create_dir_all(data.join(BUCKET))?;
    let address = format!("127.0.0.1:{}", free_ports(1)?[0]);
    let endpoint = format!("http://{address}");
    let pid = run("versitygw", &program, folder, move |command| {
        command
            .args(["--port", &address, "--region", "us-east-1", "--quiet", "posix"])
            .arg(&data)
            .env("ROOT_ACCESS_KEY", ACCESS_KEY)
            .env("ROOT_SECRET_KEY", SECRET_KEY);
    })?;
    Ok(S3Server { name: "versitygw", endpoint, pid })
}

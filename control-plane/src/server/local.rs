//! Behind the ports: this machine.

use std::{fs, io, path::Path, sync::Arc};

use remora_control_plane_runtime::{Projects, RuntimeConfig, StoreCredentials, StoreEndpoint};
use remora_proto_model::project::Role;

use super::{Behind, Served, StartError};
use crate::{
    auth::{
        access::AccessTokens,
        keys::{Keys, Table},
    },
    bucket::{BUCKET, Bucket},
    config::LocalPlace,
    private_file,
};

pub(super) async fn open(place: LocalPlace) -> Result<Behind, StartError> {
    let LocalPlace { data_dir, agent_binary, encryption_key_file, store } = place;
    let mut served = Served::default();
    let store = match store {
        Some(store) => store,
        None => {
            let bucket = Bucket::open(&data_dir.join("bucket")).await?;
            let store = endpoint_of(&bucket);
            served.tasks.push(tokio::spawn(bucket.serve(served.stop.clone())));
            store
        }
    };
    let store_name = super::store_name(&store);
    let mut runtime = RuntimeConfig::new(data_dir.clone(), agent_binary, store);
    runtime.encryption_key_file = Some(encryption_key_file);
    let (projects, state) = Projects::open(runtime).await?;
    let keys = Arc::new(Keys::open(Arc::new(Table::api_keys(state.clone()))).await?);
    let access_tokens = Arc::new(AccessTokens::open(Arc::new(Table::access_tokens(state))).await?);
    let admin_key = admin_key(&keys, &data_dir.join("admin-key")).await?;
    Ok(Behind {
        projects,
        keys,
        access_tokens,
        accounts: None,
        store_name,
        data_dir: Some(data_dir),
        admin_key,
        served,
    })
}

fn endpoint_of(bucket: &Bucket) -> StoreEndpoint {
    let (access_key, secret_key) = bucket.credentials();
    StoreEndpoint {
        endpoint: Some(bucket.endpoint()),
        public_endpoint: None,
        bucket: BUCKET.to_owned(),
        region: "us-east-1".to_owned(),
        path_style: true,
        credentials: StoreCredentials::Keys { access_key, secret_key },
        prefix: String::new(),
    }
}

/// The secret of an admin key: from `path` while it stands there and is good; at
/// the first start a new one. Where the file was taken away it stays away.
async fn admin_key(keys: &Keys, path: &Path) -> Result<Option<String>, StartError> {
    let failed = |source| StartError::Io { what: path.display().to_string(), source };
    match fs::read_to_string(path) {
        Ok(secret) if keys.authenticate(secret.trim()).is_ok_and(|caller| caller.role() == Role::Admin) => {
            return Ok(Some(secret.trim().to_owned()));
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    if keys.has_admin() {
        return Ok(None);
    }
    let (_, secret) = keys.create("admin", Role::Admin, Vec::new()).await?;
    private_file::write(path, format!("{secret}\n").as_bytes()).map_err(failed)?;
    Ok(Some(secret))
}

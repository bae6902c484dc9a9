//! What a Service container is: what its preset knows, under what its spec says.

use remora_proto_model::project::{Container, ExecAction, PRESET_STORAGE, Preset, Probe, Quantity, TcpSocket};

use crate::defaults::{POSTGRES_IMAGE, PRESET_USER, REDIS_IMAGE};

/// The user and the database of a PostgreSQL of ours.
pub(super) const POSTGRES_NAME: &str = "app";
/// Where the volume of a PostgreSQL is.
const POSTGRES_DATA: &str = "/var/lib/postgresql/data";
/// A folder of its own in it: the server makes it and will have no other owner and mode.
pub(super) const POSTGRES_FOLDER: &str = "/var/lib/postgresql/data/pgdata";
/// Where the volume of a Redis is.
pub(super) const REDIS_DATA: &str = "/data";

/// The image that a container runs: its own, else its preset's.
pub fn image(container: &Container) -> Option<String> {
    let own = container.image.as_ref().map(ToString::to_string);
    own.or_else(|| {
        container.preset.map(|preset| match preset {
            Preset::Postgres => POSTGRES_IMAGE.to_owned(),
            Preset::Redis => REDIS_IMAGE.to_owned(),
        })
    })
}

/// The uid that it runs as, where that is another one than the pod's.
pub(super) fn user(container: &Container) -> Option<i64> {
    // Of another image than the preset's own nobody here knows the users.
    let of_preset = container.preset.filter(|_| container.image.is_none()).map(|_| PRESET_USER);
    container.user.map(i64::from).or(of_preset)
}

/// The port that it is reached at.
pub(super) fn port(container: &Container) -> Option<u16> {
    container.listens().first().map(|port| port.port)
}

/// A volume of its own.
pub(super) struct Data {
    pub(super) size: Quantity,
    pub(super) class: String,
    pub(super) path: String,
}

/// The volume that it has.
pub(super) fn data(container: &Container) -> Option<Data> {
    let of_preset = container.preset.map(|preset| match preset {
        Preset::Postgres => POSTGRES_DATA,
        Preset::Redis => REDIS_DATA,
    });
    match (&container.storage, of_preset) {
        (Some(storage), path) => Some(Data {
            size: storage.size.clone(),
            class: storage.class.clone(),
            path: path.map_or_else(|| storage.path.clone(), str::to_owned),
        }),
        (None, Some(path)) => {
            let size = PRESET_STORAGE.parse().ok()?;
            Some(Data { size, class: String::new(), path: path.to_owned() })
        }
        (None, None) => None,
    }
}

/// How its kubelet sees that it is ready: its own probe, what its preset says, or its first port.
pub(super) fn probe(container: &Container) -> Option<Probe> {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let exec = |command| Probe { exec: Some(ExecAction { command }), ..Probe::default() };
    if container.probe.is_some() {
        return container.probe.clone();
    }
    let port = port(container)?;
    let number = port.to_string();
    Some(match container.preset {
        // By TCP: while it sets itself up it serves on a socket of its own alone.
        Some(Preset::Postgres) => exec(words(&["pg_isready", "-h", "127.0.0.1", "-p", &number, "-U", POSTGRES_NAME])),
        Some(Preset::Redis) => exec(words(&["sh", "-c", &format!("redis-cli -p {port} ping | grep -q PONG")])),
        None => Probe { tcp_socket: Some(TcpSocket { port }), ..Probe::default() },
    })
}

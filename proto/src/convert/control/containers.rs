//! Containers between their messages and their validated values.

use remora_proto_model::{
    Fault,
    project::{
        Container, ContainerChange, ContainerKind, Dependency, DependencyCondition, ExecAction, Exposure, HttpGet,
        Isolation, Layout, Port, Preset, Probe, Resources, Storage, TakesEffect, TcpSocket,
    },
};

use super::resources;
use crate::control::v1 as wire;

/// The two ways of an enum whose value 0 is one of its words.
macro_rules! words {
    ($model:ident, $read:ident, $field:literal, $default:ident, $($word:ident),+) => {
        impl From<$model> for wire::$model {
            fn from(value: $model) -> Self {
                match value {
                    $($model::$word => wire::$model::$word,)+
                }
            }
        }

        pub(super) fn $read(number: i32) -> Result<$model, Fault> {
            match wire::$model::try_from(number) {
                Ok(wire::$model::Unspecified) => Ok($model::$default),
                $(Ok(wire::$model::$word) => Ok($model::$word),)+
                Err(_) => Err(Fault::invalid($field, format!("{number} is unknown"))
                    .hint(concat!("give one of", $(" ", stringify!($word)),+))),
            }
        }
    };
}

words!(Layout, layout, "layout", SinglePod, SinglePod, PodPerContainer);
words!(Isolation, isolation, "isolation", Dedicated, Dedicated, Shared);
words!(ContainerKind, kind, "containers.kind", Dev, Dev, Service);
words!(DependencyCondition, condition, "containers.dependsOn.condition", Started, Started, Healthy);

impl From<Preset> for wire::Preset {
    fn from(preset: Preset) -> Self {
        match preset {
            Preset::Postgres => wire::Preset::Postgres,
            Preset::Redis => wire::Preset::Redis,
        }
    }
}

fn preset(number: i32) -> Result<Option<Preset>, Fault> {
    match wire::Preset::try_from(number) {
        Ok(wire::Preset::Unspecified) => Ok(None),
        Ok(wire::Preset::Postgres) => Ok(Some(Preset::Postgres)),
        Ok(wire::Preset::Redis) => Ok(Some(Preset::Redis)),
        Err(_) => {
            Err(Fault::invalid("containers.preset", format!("{number} is unknown")).hint("give Postgres or Redis"))
        }
    }
}

impl From<Exposure> for wire::Exposure {
    fn from(exposure: Exposure) -> Self {
        match exposure {
            Exposure::Private => wire::Exposure::Private,
            Exposure::Authenticated => wire::Exposure::Authenticated,
            Exposure::Public => wire::Exposure::Public,
        }
    }
}

fn exposure(number: i32) -> Result<Option<Exposure>, Fault> {
    match wire::Exposure::try_from(number) {
        Ok(wire::Exposure::Unspecified) => Ok(None),
        Ok(wire::Exposure::Private) => Ok(Some(Exposure::Private)),
        Ok(wire::Exposure::Authenticated) => Ok(Some(Exposure::Authenticated)),
        Ok(wire::Exposure::Public) => Ok(Some(Exposure::Public)),
        Err(_) => Err(Fault::invalid("containers.ports.expose", format!("{number} is unknown"))
            .hint("give Private, Authenticated or Public, or leave it out")),
    }
}

fn port_number(field: &str, number: u32) -> Result<u16, Fault> {
    u16::try_from(number).map_err(|_| Fault::invalid(field, format!("is {number}; give 1 to 65535")))
}

impl From<Port> for wire::Port {
    fn from(port: Port) -> Self {
        let expose = port.expose.map_or(wire::Exposure::Unspecified, Into::into);
        wire::Port { name: port.name, port: port.port.into(), expose: expose.into() }
    }
}

impl TryFrom<wire::Port> for Port {
    type Error = Fault;
    fn try_from(port: wire::Port) -> Result<Self, Fault> {
        let number = port_number("containers.ports.port", port.port)?;
        Ok(Port { name: port.name, port: number, expose: exposure(port.expose)? })
    }
}

impl From<Dependency> for wire::Dependency {
    fn from(dependency: Dependency) -> Self {
        let condition = wire::DependencyCondition::from(dependency.condition).into();
        wire::Dependency { name: dependency.name.into(), condition }
    }
}

impl TryFrom<wire::Dependency> for Dependency {
    type Error = Fault;
    fn try_from(dependency: wire::Dependency) -> Result<Self, Fault> {
        Ok(Dependency {
            name: dependency.name.parse().map_err(|error| Fault::invalid("containers.dependsOn", error))?,
            condition: condition(dependency.condition)?,
        })
    }
}

impl From<Probe> for wire::Probe {
    fn from(probe: Probe) -> Self {
        use wire::probe::Check;
        let get = |get: HttpGet| Check::HttpGet(wire::HttpGet { path: get.path, port: get.port.into() });
        let socket = |socket: TcpSocket| Check::TcpSocket(wire::TcpSocket { port: socket.port.into() });
        let exec = |exec: ExecAction| Check::Exec(wire::ExecAction { command: exec.command });
        let Probe { http_get, tcp_socket, exec: command, .. } = probe;
        wire::Probe {
            check: http_get.map(get).or(tcp_socket.map(socket)).or(command.map(exec)),
            initial_delay_seconds: probe.initial_delay_seconds,
            period_seconds: probe.period_seconds,
            timeout_seconds: probe.timeout_seconds,
            failure_threshold: probe.failure_threshold,
        }
    }
}

impl TryFrom<wire::Probe> for Probe {
    type Error = Fault;
    fn try_from(probe: wire::Probe) -> Result<Self, Fault> {
        use wire::probe::Check;
        let default = Probe::default();
        let or = |given, default| if given == 0 { default } else { given };
        let mut read = Probe {
            initial_delay_seconds: probe.initial_delay_seconds,
            period_seconds: or(probe.period_seconds, default.period_seconds),
            timeout_seconds: or(probe.timeout_seconds, default.timeout_seconds),
            failure_threshold: or(probe.failure_threshold, default.failure_threshold),
            ..default
        };
        match probe.check {
            Some(Check::HttpGet(wire::HttpGet { path, port })) => {
                let port = port_number("containers.probe.httpGet.port", port)?;
                let path = if path.is_empty() { "/".to_owned() } else { path };
                read.http_get = Some(HttpGet { path, port });
            }
            Some(Check::TcpSocket(wire::TcpSocket { port })) => {
                read.tcp_socket = Some(TcpSocket { port: port_number("containers.probe.tcpSocket.port", port)? });
            }
            Some(Check::Exec(wire::ExecAction { command })) => read.exec = Some(ExecAction { command }),
            None => {}
        }
        Ok(read)
    }
}

impl From<Storage> for wire::Storage {
    fn from(storage: Storage) -> Self {
        let Storage { size, class, path } = storage;
        wire::Storage { size: size.into(), class, path }
    }
}

impl TryFrom<wire::Storage> for Storage {
    type Error = Fault;
    fn try_from(storage: wire::Storage) -> Result<Self, Fault> {
        let wire::Storage { size, class, path } = storage;
        let size = size.parse().map_err(|error| Fault::invalid("containers.storage.size", error))?;
        Ok(Storage { size, class, path })
    }
}

impl From<Container> for wire::Container {
    fn from(container: Container) -> Self {
        let Container {
            name,
            kind,
            preset,
            image,
            command,
            args,
            env,
            ports,
            workdir,
            resources,
            depends_on,
            probe,
            storage,
            user,
        } = container;
        wire::Container {
            name: name.into(),
            command,
            env: env.into_iter().collect(),
            ports: ports.into_iter().map(Into::into).collect(),
            workdir,
            image: image.map(String::from).unwrap_or_default(),
            resources: (!resources.is_empty()).then(|| resources.into()),
            kind: wire::ContainerKind::from(kind).into(),
            args,
            depends_on: depends_on.into_iter().map(Into::into).collect(),
            probe: probe.map(Into::into),
            storage: storage.map(Into::into),
            preset: preset.map_or(wire::Preset::Unspecified, wire::Preset::from).into(),
            user: user.unwrap_or_default(),
        }
    }
}

impl TryFrom<wire::Container> for Container {
    type Error = Fault;
    fn try_from(container: wire::Container) -> Result<Self, Fault> {
        Ok(Container {
            name: container.name.parse().map_err(|error| Fault::invalid("containers.name", error))?,
            kind: kind(container.kind)?,
            preset: preset(container.preset)?,
            image: resources::image(&container.image)?,
            command: container.command,
            args: container.args,
            env: container.env.into_iter().collect(),
            ports: container.ports.into_iter().map(Port::try_from).collect::<Result<_, Fault>>()?,
            workdir: container.workdir,
            resources: container.resources.map(Resources::try_from).transpose()?.unwrap_or_default(),
            depends_on: container.depends_on.into_iter().map(Dependency::try_from).collect::<Result<_, Fault>>()?,
            probe: container.probe.map(Probe::try_from).transpose()?,
            storage: container.storage.map(Storage::try_from).transpose()?,
            user: Some(container.user).filter(|user| *user != 0),
        })
    }
}

impl From<ContainerChange> for wire::ContainerChange {
    fn from(change: ContainerChange) -> Self {
        let takes_effect = match change.takes_effect {
            TakesEffect::Unchanged => wire::TakesEffect::Unchanged,
            TakesEffect::NextStart => wire::TakesEffect::NextStart,
            TakesEffect::InPlace => wire::TakesEffect::InPlace,
            TakesEffect::NewGeneration => wire::TakesEffect::NewGeneration,
        };
        wire::ContainerChange { project: Some(change.project.into()), takes_effect: takes_effect.into() }
    }
}

impl TryFrom<wire::ContainerChange> for ContainerChange {
    type Error = Fault;
    fn try_from(change: wire::ContainerChange) -> Result<Self, Fault> {
        let takes_effect = match change.takes_effect() {
            wire::TakesEffect::Unchanged => TakesEffect::Unchanged,
            wire::TakesEffect::InPlace => TakesEffect::InPlace,
            wire::TakesEffect::NewGeneration => TakesEffect::NewGeneration,
            // Of a word that only a newer server has no more is known than that it is not there yet.
            wire::TakesEffect::NextStart | wire::TakesEffect::Unspecified => TakesEffect::NextStart,
        };
        Ok(ContainerChange { project: change.project.unwrap_or_default().try_into()?, takes_effect })
    }
}

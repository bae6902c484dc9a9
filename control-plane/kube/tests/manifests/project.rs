//! Projects: one that says as little as it can, one that says everything, and a shop.

use std::collections::BTreeMap;

use remora_control_plane_kube::manifests::{
    AgentMaterial, Context, Controller, EncryptionKey, Gate, Routing, Settings, Tls, Way,
};
use remora_control_plane_runtime::{StoreCredentials, StoreEndpoint};
use remora_proto_model::{
    ContainerName, Generation,
    project::{Container, Isolation, Project, ProjectSpec, ProjectStatus},
};

pub(crate) const ID: &str = "3f0c9a52-8d1b-4a77-9a0e-6b1d6c1f2e44";
/// The id as a name has it in a namespace that projects share.
pub(crate) const SUFFIX: &str = "h4gjuuundnfhpgqonmowyhzoiq";
/// The namespace that projects share here.
pub(crate) const SHARED: &str = "proj-shared";

/// A project and what its objects are made from.
pub(crate) struct Made {
    pub(crate) project: Project,
    pub(crate) settings: Settings,
    commands: BTreeMap<ContainerName, Vec<String>>,
    source: Option<&'static str>,
}

impl Made {
    pub(crate) fn context(&self) -> Context<'_> {
        Context {
            project: &self.project,
            generation: Generation(3),
            settings: &self.settings,
            commands: &self.commands,
            source: self.source,
        }
    }
}

/// Ports are reached through Traefik, and no more is asked for.
pub(crate) fn routing() -> Routing {
    Routing {
        way: Way::Ingress { class: None },
        controller: Controller::Traefik,
        domain: "ports.example.com".to_owned(),
        tls: Tls::Controller,
        auth_url: "http://remora.remora-system.svc.cluster.local:7600/auth/verify".to_owned(),
        login_url: None,
        cors_origins: Vec::new(),
        frame_ancestors: Vec::new(),
        rate: None,
        max_body_bytes: None,
        timeout_seconds: 3_600,
        from: Gate { namespace: "traefik".to_owned(), pod_labels: [].into() },
    }
}

pub(crate) fn material() -> AgentMaterial {
    AgentMaterial {
        certificate: "certificate".to_owned(),
        key: "key".to_owned(),
        ca_certificate: "ca".to_owned(),
        token_key: "token".to_owned(),
    }
}

fn settings() -> Settings {
    Settings {
        agent_image: "registry.example/remora/agent:1".to_owned(),
        control_namespace: "remora-system".to_owned(),
        control_service_account: "remora".to_owned(),
        control_pod_labels: [("app.kubernetes.io/component".to_owned(), "control-plane".to_owned())].into(),
        project_cluster_role: "remora-project".to_owned(),
        shared_namespace: Some(SHARED.to_owned()),
        store: StoreEndpoint {
            endpoint: Some("http://remora-trial-store.remora-system.svc:8333".to_owned()),
            public_endpoint: None,
            bucket: "remora".to_owned(),
            region: "us-east-1".to_owned(),
            path_style: true,
            credentials: StoreCredentials::Keys { access_key: "access".to_owned(), secret_key: "secret".to_owned() },
            prefix: String::new(),
        },
        store_cidrs: Vec::new(),
        encryption_key: None,
        grace_seconds: 60,
        flush_seconds: 30,
        client_san: "control-plane.remora.internal".to_owned(),
        routing: None,
    }
}

fn project(spec: ProjectSpec) -> Project {
    spec.validate().unwrap();
    remora_control_plane_kube::manifests::accepts(&spec).unwrap();
    Project {
        id: ID.parse().unwrap(),
        name: "shop".parse().unwrap(),
        resource_version: 1,
        created_ms: 1,
        spec,
        status: ProjectStatus::default(),
    }
}

/// The same project in the namespace that projects share.
pub(crate) fn shared(mut made: Made) -> Made {
    made.project.spec.isolation = Isolation::Shared;
    made.project = project(made.project.spec);
    made
}

/// The same project beside it: another one of whoever likes the name.
pub(crate) fn sibling(mut made: Made) -> Made {
    made.project.id = "7c1e5d80-22b3-4f6e-8a91-d4405b6e9f13".parse().unwrap();
    made
}

/// One of that spec, whose images say what they run.
pub(crate) fn of(spec: ProjectSpec) -> Made {
    let command = |container: &Container| (container.name.clone(), vec!["serve".to_owned()]);
    Made {
        commands: spec.containers.iter().map(command).collect(),
        project: project(spec),
        settings: settings(),
        source: None,
    }
}

/// A container with an image, and nothing else.
pub(crate) fn small() -> Made {
    let container = Container { image: "node".parse().ok(), ..Container::named("dev".parse().unwrap()) };
    Made {
        project: project(ProjectSpec { containers: vec![container], ..ProjectSpec::default() }),
        settings: settings(),
        commands: [("dev".parse().unwrap(), vec!["node".to_owned()])].into(),
        source: None,
    }
}

/// Everything that a spec and the settings can say.
pub(crate) fn full() -> Made {
    let spec: ProjectSpec = serde_json::from_value(serde_json::json!({
        "owner": "Alice_1.x", "displayName": "My \u{1F6D2} shop", "source": "Archive",
        "containers": [
            {
                "name": "web", "image": "ghcr.io/a/web:1", "workdir": "app",
                "command": ["sh", "-c", "echo $HOME $(PATH) $$; exec \"$@\""],
                "env": {"PRICE": "5$ $(PORT)", "PORT": "8000"},
                "ports": [{"name": "http", "port": 8000}, {"name": "a--1", "port": 24678}],
                "resources": {
                    "requests": {"cpu": "250m", "memory": "1Gi"},
                    "limits": {"cpu": "2", "memory": "2Gi", "ephemeralStorage": "10Gi"},
                },
            },
            {"name": "api-2", "image": "ghcr.io/a/api:1", "ports": [{"name": "http", "port": 8080}]},
        ],
        "workspace": {"path": "/srv/shop", "volume": {"size": "20Gi", "class": "fast", "accessMode": "ReadWriteOncePod"}},
        "snapshots": {"exclude": ["*.log", "$cache/"]},
        "quota": {"cpu": "4", "memory": "8Gi", "pods": 4, "storage": "50Gi"},
    }))
    .unwrap();
    let mut settings = settings();
    settings.store.endpoint = Some("https://minio.internal:9000".to_owned());
    settings.store.prefix = "team/a".to_owned();
    settings.store_cidrs = vec!["10.20.0.0/16".to_owned()];
    settings.encryption_key = Some(EncryptionKey("a2V5".to_owned()));
    let web = spec.containers[0].command.clone();
    Made {
        project: project(spec),
        settings,
        commands: [
            ("web".parse().unwrap(), web),
            ("api-2".parse().unwrap(), vec!["/entrypoint.sh".to_owned(), "serve".to_owned()]),
        ]
        .into(),
        source: Some("sources/one.tar.zst"),
    }
}

/// A frontend, an API, a database, a cache and a worker, in one pod or in five.
pub(crate) fn shop(layout: &str) -> Made {
    let spec: ProjectSpec = serde_json::from_value(serde_json::json!({
        "layout": layout,
        "containers": [
            {
                "name": "web", "image": "node:22", "command": ["npm", "run", "dev"],
                "ports": [{"name": "http", "port": 5173}],
                "dependsOn": [{"name": "api", "condition": "Healthy"}],
            },
            {
                "name": "api", "image": "node:22", "command": ["node", "api.js"], "args": ["--cost=$1"],
                "ports": [{"name": "http", "port": 8080}],
                "probe": {"httpGet": {"path": "/healthz", "port": 8080}},
                "dependsOn": [{"name": "db", "condition": "Healthy"}, {"name": "cache", "condition": "Healthy"}, {"name": "tools"}],
                "env": {"REDIS_URL": "redis://elsewhere/$(0)"},
            },
            {"name": "tools", "image": "node:22", "command": ["sleep", "infinity"]},
            {"name": "db", "kind": "Service", "preset": "Postgres", "storage": {"size": "5Gi", "class": "fast"}},
            {"name": "cache", "kind": "Service", "preset": "Redis", "image": "registry.example/redis:7", "user": 101},
            {
                "name": "worker", "kind": "Service", "image": "registry.example/worker:1", "args": ["run"],
                "storage": {"size": "1Gi", "path": "/data"}, "probe": {"exec": {"command": ["/bin/check", "$x"]}},
                "dependsOn": [{"name": "db", "condition": "Healthy"}, {"name": "api"}],
            },
        ],
        "workspace": {"volume": {"size": "20Gi", "accessMode": "ReadWriteMany"}},
    }))
    .unwrap();
    let command = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    Made {
        project: project(spec),
        settings: settings(),
        commands: [
            ("web".parse().unwrap(), command(&["npm", "run", "dev"])),
            ("api".parse().unwrap(), command(&["node", "api.js", "--cost=$1"])),
            ("tools".parse().unwrap(), command(&["sleep", "infinity"])),
            ("worker".parse().unwrap(), command(&["/worker", "run"])),
        ]
        .into(),
        source: None,
    }
}

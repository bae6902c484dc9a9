//! What pods are made with: ports, the user, and what a container gets whose spec does not say.

/// Port of an agent's gRPC.
pub const AGENT_PORT: i32 = 7070;
/// Port of an agent's probes and metrics.
pub const AGENT_METRICS_PORT: i32 = 7071;
/// User and group of every container of a project: Pod Security `restricted` wants one that is not root.
pub const PROJECT_USER: i64 = 1_000;
/// The namespace of projects that share one, where the settings name none.
pub const SHARED_NAMESPACE: &str = "proj-shared";
/// What an agent is promised: it waits most of the time.
pub const AGENT_CPU_REQUEST: &str = "50m";
/// See [`AGENT_CPU_REQUEST`].
pub const AGENT_MEMORY_REQUEST: &str = "64Mi";
/// Most memory of an agent: twice the 128 MiB that its bounds add up to.
pub const AGENT_MEMORY_LIMIT: &str = "256Mi";

/// Image of a PostgreSQL whose spec names none.
pub const POSTGRES_IMAGE: &str = "docker.io/library/postgres:17";
/// Image of a Redis whose spec names none.
pub const REDIS_IMAGE: &str = "docker.io/library/redis:7";
/// The user that both of these images have for their server.
pub const PRESET_USER: i64 = 999;
/// Seconds that a Service container has to end: a database writes its last pages.
pub const SERVICE_GRACE_SECONDS: i64 = 30;

/// What a container is promised whose spec does not say: a shell and an idle dev server.
pub const CONTAINER_CPU_REQUEST: &str = "100m";
/// See [`CONTAINER_CPU_REQUEST`].
pub const CONTAINER_MEMORY_REQUEST: &str = "128Mi";
/// Most memory of a container whose spec does not say: a build of a large web
/// application fits, and a leak does not take the node with it.
pub const CONTAINER_MEMORY_LIMIT: &str = "4Gi";

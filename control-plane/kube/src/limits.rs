//! Bounds of the runtime of a cluster. Each says its unit and its reason.

use std::time::Duration;

use k8s_openapi::jiff::SignedDuration;

/// What the shim leaves between the end of the user's processes and the start of
/// the flush, in seconds: the kubelet needs a moment to see that a container has ended.
pub const HANDOVER_SECONDS: u64 = 5;
/// Least time that the user's processes get to end, in seconds.
pub const LEAST_STOP_SECONDS: u64 = 1;
/// Time that a container waits for those that it depends on before that is a failure
/// that is told, in seconds: an image is pulled and a database sets itself up in it.
pub const GATE_SECONDS: u64 = 300;
/// Largest JSON of what a pod is made of, in bytes: it is an annotation of the
/// pod, whose annotations may have 262,144 together.
pub const MAX_MADE_BYTES: usize = 128 * 1024;

/// Largest manifest or configuration of an image, in bytes: what registries have
/// to take (OCI distribution specification 1.1, "Pushing manifests").
pub const MAX_IMAGE_DOCUMENT_BYTES: usize = 4 << 20;
/// Largest answer of a token service, in bytes: a token has a few thousand.
pub const MAX_REGISTRY_TOKEN_BYTES: usize = 64 << 10;
/// Longest time for all requests about one image: a registry that is slower is told as one that does not answer.
pub const REGISTRY_PATIENCE: Duration = Duration::from_secs(30);
/// Redirects that are followed: registries send to their storage, once or twice.
pub const MAX_REGISTRY_REDIRECTS: usize = 5;
/// Images whose command is remembered: a digest never means another one.
pub const MAX_KNOWN_IMAGES: usize = 1_024;

/// Longest bearer token that is looked at, in bytes: one of a ServiceAccount has about a thousand.
pub const MAX_BEARER_BYTES: usize = 8 << 10;
/// How long the API server's word about a token is believed: so long a
/// ServiceAccount that was deleted can go on.
pub const TOKEN_REVIEW_TTL: Duration = Duration::from_secs(60);
/// Longest time that a call waits for the API server's word about its token.
pub const TOKEN_REVIEW_PATIENCE: Duration = Duration::from_secs(10);
/// Tokens whose review is remembered.
pub const MAX_REVIEWED_TOKENS: usize = 1_024;

/// Life of the token that a project's agent shows for the store's credentials, in
/// seconds. The kubelet replaces it once 80 % of that are over, so that an API
/// server that is away for four hours keeps no agent from its store.
pub const TOKEN_SECONDS: i64 = 24 * 60 * 60;

/// Time for rights that were just bound to be in force at the API server.
pub const RIGHTS_WITHIN: Duration = Duration::from_secs(10);

/// Rest after the first attempt to use them, doubled with each.
pub const RIGHTS_LOOK: Duration = Duration::from_millis(100);

/// How long a watch stands before it is begun anew where it was, in seconds. One that tells
/// nothing for 5 s longer is on a connection that leads nowhere.
pub const WATCH_SECONDS: u32 = 30;

/// Longest time that a call waits for the API server, with all attempts: half of what
/// that itself takes at most for one. A watch has to begin in it.
pub const API_WITHIN: Duration = Duration::from_secs(30);

/// Attempts at a call that the API server answers with "not now": what is over in a second
/// is nobody's failure, and what lasts is told.
pub const API_ATTEMPTS: u32 = 3;

/// Rest after the first of them, doubled with each: two calls at a time ask an object four times a second.
pub const API_FIRST_REST: Duration = Duration::from_millis(500);

/// Objects of one page of a list: the API server's own default for large lists.
pub const LIST_PAGE: u32 = 500;

/// Pages that are read of one kind of object while orphans are looked for: 50,000 objects
/// of ours are more than the projects of one control plane have.
pub const MAX_ORPHAN_PAGES: u32 = 100;

/// Namespaces without a project, and as many that projects share, whose claims and Secrets
/// are listed, each by calls of its own.
pub const MAX_ORPHAN_NAMESPACES: usize = 50;

/// Time between two writes of a status in which only measured numbers differ:
/// each is a write to etcd, and nobody decides by them.
pub const TOUCH_INTERVAL: Duration = Duration::from_secs(10);

/// How long after a pod's grace its kubelet may be silent before its node counts as lost:
/// the clocks of a cluster may differ by some of it, and [`END_WITHIN`] has to be longer.
pub const SILENCE: SignedDuration = SignedDuration::from_secs(10);

/// Rest between two attempts at a restore: longer than a kubelet's first two, so that
/// a pod is replaced only where those did not help.
pub const RESTORE_REST: SignedDuration = SignedDuration::from_secs(25);

/// How often a pod is looked at without any event of it.
pub const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// Rest between two looks at something that is to end, beside events.
pub const END_LOOK: Duration = Duration::from_millis(500);

/// Time beyond its grace period in which a pod has to end before that is a failure
/// that is told and tried again.
pub const END_WITHIN: Duration = Duration::from_secs(30);

/// Time for a snapshot of a volume at rest before that is a failure that is told
/// and tried again: what was uploaded meanwhile is not uploaded again.
pub const DEHYDRATE_WITHIN: Duration = Duration::from_hours(1);

/// Time for a namespace to be gone before that is told and tried again.
pub const NAMESPACE_WITHIN: Duration = Duration::from_secs(60);

/// How long the processes of a pod are held after its last snapshot, until they
/// are told to end: a read of the root, a write of the record, and a delete.
pub const HOLD: Duration = Duration::from_secs(30);

/// Life of the Lease: another replica leads this long after the last sign of one.
pub const LEASE: Duration = Duration::from_secs(15);

/// Time between two signs of the leader.
pub const LEASE_RENEWAL: Duration = Duration::from_secs(5);

/// Time between two applications of routes that have not changed: a certificate that was
/// renewed is taken over, and what somebody else changed is undone.
pub const ROUTES_LOOK: Duration = Duration::from_secs(600);

/// How long a route is gone before what guarded it goes too: a controller may hear of it a few seconds later
/// (Traefik takes changes at most every two), and its requests would be dropped without an answer.
pub const ROUTES_DRAIN: Duration = Duration::from_secs(5);

/// Rest before another attempt at routes that could not be brought about.
pub const ROUTES_RETRY: Duration = Duration::from_secs(10);

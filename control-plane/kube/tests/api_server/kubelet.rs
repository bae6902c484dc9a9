//! What gives a pod its address, runs it, and says how it ended.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
    },
};

use remora_control_plane_kube::{defaults::AGENT_PORT, manifests};
use serde_json::{Value, json};
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::DropGuard;

use crate::{agent, bucket::Content, place::Place, server::State};

/// How many addresses of loopback were given away.
static ADDRESSES: AtomicU32 = AtomicU32::new(0);

/// An address of loopback that nobody else in this process has, nor in another one that
/// runs these tests now: 1,024 of each process, from 127.128.0.0 on.
pub(crate) fn fresh_ip() -> Ipv4Addr {
    let number = ADDRESSES.fetch_add(1, Ordering::Relaxed);
    assert!(number < 1_024, "too many pods");
    Ipv4Addr::from(0x7f80_0000 + ((std::process::id() % 0x2000) << 10) + number)
}

/// A pod that runs.
struct Running {
    place: Place,
    project: String,
    agent: agent::Place,
    ip: Ipv4Addr,
    _serves: DropGuard,
}

/// What is seen of all pods.
#[derive(Default)]
pub(crate) struct Seen {
    /// Most pods of one project that ran at the same moment.
    pub(crate) most: usize,
    /// How many were started.
    pub(crate) started: usize,
    /// What ended and was let go of although its last snapshot is on no store, or was not
    /// read back from there.
    pub(crate) lost: Vec<String>,
    /// Pods whose agent is to be gone: it ends without a word.
    pub(crate) speechless: BTreeSet<String>,
    /// Whether no volume is ever made for a claim, so that no node takes a pod that has one.
    pub(crate) volumes_stay_away: bool,
    /// The address that the next pod gets.
    pub(crate) next_ip: Option<Ipv4Addr>,
    /// Calls to the agents of each project.
    asked: BTreeMap<String, Arc<AtomicUsize>>,
    /// Whether agents are of a release without snapshots.
    pub(crate) lacks_snapshots: Arc<AtomicBool>,
}

impl Seen {
    pub(crate) fn asked_of(&self, project: &str) -> usize {
        self.asked.get(project).map_or(0, |asked| asked.load(Ordering::SeqCst))
    }
}

pub(crate) struct Kubelet {
    state: Arc<Mutex<State>>,
    bucket: Arc<Mutex<Content>>,
    seen: Arc<Mutex<Seen>>,
    running: BTreeMap<String, Running>,
    /// Roots that pods which ended spoke of, by uid.
    words: BTreeMap<String, String>,
}

impl Kubelet {
    /// Runs pods until the task ends.
    pub(crate) fn start(
        (state, changes): (Arc<Mutex<State>>, watch::Sender<u64>),
        bucket: Arc<Mutex<Content>>,
        seen: Arc<Mutex<Seen>>,
    ) -> JoinHandle<()> {
        let mut kubelet = Kubelet { state, bucket, seen, running: BTreeMap::new(), words: BTreeMap::new() };
        tokio::spawn(async move {
            let mut heard = changes.subscribe();
            loop {
                heard.borrow_and_update();
                if kubelet.look().await {
                    let version = kubelet.state.lock().unwrap().objects.version;
                    changes.send_replace(version);
                } else if heard.changed().await.is_err() {
                    return;
                }
            }
        })
    }

    /// One look at all pods; whether something was done.
    async fn look(&mut self) -> bool {
        let pods: Vec<Value> = self.state.lock().unwrap().objects.of("pods").into_iter().cloned().collect();
        self.hear(&pods);
        for pod in &pods {
            let metadata = &pod["metadata"];
            let uid = metadata["uid"].as_str().unwrap();
            let (runs, deleted) = (self.running.contains_key(uid), !metadata["deletionTimestamp"].is_null());
            if runs && deleted {
                self.end(uid);
                return true;
            }
            if !runs && !deleted && pod["spec"]["nodeName"].is_null() && self.begin(pod).await {
                return true;
            }
        }
        false
    }

    /// Looks for pods that are gone although what they said last is not safe.
    fn hear(&mut self, pods: &[Value]) {
        let bucket = self.bucket.lock().unwrap();
        let there = |uid: &String| {
            let mut all = pods.iter().filter(|pod| pod["metadata"]["uid"] == uid.as_str());
            all.any(|pod| pod["metadata"]["finalizers"].as_array().is_some_and(|held| !held.is_empty()))
        };
        for (uid, root) in self.words.extract_if(.., |uid, _| !there(uid)) {
            if !bucket.objects.contains_key(&root) || !bucket.read.contains(&root) {
                self.seen.lock().unwrap().lost.push(format!("{uid}: {root}"));
            }
        }
    }

    /// Whether it waits for a volume that does not come.
    fn waits_for_a_volume(&self, pod: &Value) -> bool {
        let mut volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
        self.seen.lock().unwrap().volumes_stay_away && volumes.any(|volume| volume["persistentVolumeClaim"].is_object())
    }

    /// Starts a pod, if what it mounts is there.
    async fn begin(&mut self, pod: &Value) -> bool {
        let metadata = &pod["metadata"];
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let project = text(&metadata["labels"][manifests::PROJECT_ID]);
        let generation: u64 = metadata["labels"][manifests::GENERATION].as_str().unwrap().parse().unwrap();
        let namespace = text(&metadata["namespace"]);
        let secret = Place {
            resource: "secrets".to_owned(),
            namespace: namespace.clone(),
            name: manifests::agent_secret_name(remora_proto_model::Generation(generation)),
        };
        let Some(secret) = self.state.lock().unwrap().objects.get(&secret).cloned() else { return false };
        let place = Place { resource: "pods".to_owned(), namespace, name: text(&metadata["name"]) };
        if self.waits_for_a_volume(pod) {
            let mut state = self.state.lock().unwrap();
            let before = state.objects.version;
            state.objects.set_status(&place, unscheduled());
            return state.objects.version > before;
        }
        let chosen = self.seen.lock().unwrap().next_ip.take();
        let ip = chosen.unwrap_or_else(fresh_ip);
        let container = text(&pod["spec"]["containers"][0]["name"]);
        let bucket = Arc::clone(&self.bucket);
        let (asked, lacks_snapshots) = {
            let mut seen = self.seen.lock().unwrap();
            (Arc::clone(seen.asked.entry(project.clone()).or_default()), Arc::clone(&seen.lacks_snapshots))
        };
        let agent = agent::Place { project: project.clone(), generation, container, bucket, asked, lacks_snapshots };
        let address = SocketAddr::new(ip.into(), u16::try_from(AGENT_PORT).unwrap());
        let serves = agent::serve(agent.clone(), address, &secret).await;
        let uid = text(&metadata["uid"]);
        let running = Running { place: place.clone(), project, agent: agent.clone(), ip, _serves: serves };
        let project = running.project.clone();
        self.running.insert(uid, running);
        {
            let mut seen = self.seen.lock().unwrap();
            seen.started += 1;
            let together = self.running.values().filter(|running| running.project == project).count();
            seen.most = seen.most.max(together);
        }
        let mut state = self.state.lock().unwrap();
        if let Some(mut object) = state.objects.get(&place).cloned() {
            object["spec"]["nodeName"] = "node".into();
            state.objects.store(&place, object);
        }
        state.objects.set_status(&place, status(&agent, ip, &json!({ "running": {} }), "Running"));
        true
    }

    /// Ends a pod: its agent after everything else, with its last snapshot.
    fn end(&mut self, uid: &str) {
        let running = self.running.remove(uid).unwrap();
        let word = if self.seen.lock().unwrap().speechless.contains(&running.place.name) {
            json!({ "terminated": { "exitCode": 137, "reason": "Error" } })
        } else {
            let word = running.agent.last_word();
            if let Some(root) = word["snapshot"]["root_key"].as_str() {
                self.words.insert(uid.to_owned(), format!("projects/{}/{root}", running.project));
            }
            json!({ "terminated": { "exitCode": 0, "message": word.to_string() } })
        };
        let mut state = self.state.lock().unwrap();
        state.objects.set_status(&running.place, status(&running.agent, running.ip, &word, "Succeeded"));
        state.objects.ended(&running.place);
    }
}

/// As kube-scheduler says it of a pod whose claims have no volume.
fn unscheduled() -> Value {
    json!({ "phase": "Pending", "conditions": [{
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "message": "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims.",
    }]})
}

fn status(agent: &agent::Place, ip: Ipv4Addr, state: &Value, phase: &str) -> Value {
    let container = |name: &str, state: &Value| {
        json!({
            "name": name, "image": "x", "imageID": "x", "containerID": format!("containerd://{name}"),
            "ready": true, "restartCount": 0, "state": state,
        })
    };
    let whole = json!({ "terminated": { "exitCode": 0, "message": "{}" } });
    let runs = state["running"].is_object();
    let own = if runs { state.clone() } else { json!({ "terminated": { "exitCode": 0 } }) };
    json!({
        "phase": phase,
        "podIP": ip.to_string(),
        "conditions": [{ "type": "Ready", "status": if runs { "True" } else { "False" } }],
        "initContainerStatuses": [container("install", &whole), container("hydrate", &whole), container("agent", state)],
        "containerStatuses": [container(&agent.container, &own)],
    })
}

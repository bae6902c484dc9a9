//! The shop of examples/, as people really build one: a page, an API and two databases,
//! made from its file and by the REST calls alone.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Stdio,
};

use serde_json::{Value, json};
use tokio::{process::Command, time::timeout};

use super::containers::claims;
use crate::{
    cluster::{get, pods},
    harness::Case,
    ingress::Visitor,
    patience::{VERB_PATIENCE, eventually, seen},
    project::{Project, phase},
    rest::request_as,
    target::Target,
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("shop::made_by_rest_alone_it_is_the_one_of_its_file_and_keeps_what_it_sold", by_rest)
            .with_shop()
            .on_full_profile(),
        Case::new("shop::made_from_its_file_it_wakes_on_another_node_and_everything_is_there", by_file)
            .with_shop()
            .through_ingress()
            .on_full_profile()
            .alone(),
    ]
}

/// A file of the workspace that the page is made of.
const PAGE: &str = "frontend/src/App.tsx";

/// A shop under a name of its own.
struct Shop {
    project: Project,
    folder: PathBuf,
}

impl Shop {
    fn named(target: &Target) -> Shop {
        let folder = target.shop.clone().expect("a case with the shop");
        Shop { project: Project::named(target, "shop"), folder }
    }

    /// project.yaml under this name, with images that the cluster can pull.
    fn file(&self) -> PathBuf {
        let text = std::fs::read_to_string(self.folder.join("project.yaml")).expect("the shop has its file");
        let mut object: Value = serde_norway::from_str(&text).expect("the file is YAML");
        object["metadata"]["name"] = json!(self.project.name);
        for container in object["spec"]["containers"].as_array_mut().expect("a project has containers") {
            if container["kind"] == "Service" {
                container["image"] = json!(self.project.target.databases);
                container["user"] = json!(999);
            } else {
                container["image"] = json!(self.project.target.image);
            }
        }
        let file = self.project.cli.folder().join("project.yaml");
        std::fs::write(&file, serde_norway::to_string(&object).expect("it is YAML")).expect("the folder takes files");
        file
    }

    /// `remora up -f`, and what it said.
    async fn up(&self) -> String {
        let (file, text) = (self.file(), |path: &Path| path.to_str().expect("the case's folders are text").to_owned());
        let ran = self.project.cli.run(&["up", "-f", &text(&file), &text(&self.folder)]).await;
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        ran.stderr
    }

    /// Runs a program in the container of the API.
    async fn run(&self, argv: &[&str]) -> String {
        self.project.verb("exec", &[&["--container", "api", "--"], argv].concat()).await.ok()
    }

    /// Asks the page's own server, as a browser that shows the page does: from outside where
    /// there is a way in, and else from beside it. What was said instead of an answer is an error.
    async fn asked(&self, method: &str, path: &str, body: Option<&Value>) -> Result<String, String> {
        let target = &self.project.target;
        let body = body.map(Value::to_string).unwrap_or_default();
        if target.ingress.is_none() {
            let url = format!("http://web:5173{path}");
            let head = ["exec", &self.project.name, "--container", "api", "--", "curl", "--silent", "--show-error"];
            let what = ["--fail-with-body", "--max-time", "30", "--request", method, &url];
            let json = ["--header", "content-type: application/json", "--data", &body];
            let json = if body.is_empty() { &[][..] } else { &json[..] };
            let ran = self.project.cli.run(&[&head[..], &what, json].concat()).await;
            return if ran.code == 0 { Ok(ran.ok()) } else { Err(format!("{} {}", ran.text(), ran.stderr)) };
        }
        let host = self.host("web").await;
        let authorization = format!("Bearer {}", target.key);
        let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
        let answer = Visitor::new(target).send(method, &host, path, &headers, body).await;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        if answer.status.is_success() { Ok(text) } else { Err(format!("{} {text}", answer.status)) }
    }

    async fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> String {
        let answer = self.asked(method, path, body).await;
        answer.unwrap_or_else(|said| panic!("{method} {path}: {said}"))
    }

    /// Waits until what leads to it knows that it is open, which is a moment after it is.
    async fn opens(&self) {
        eventually(|| self.asked("GET", "/api/products", None)).await;
    }

    async fn host(&self, container: &str) -> String {
        let status = self.project.status().await;
        let all = status["status"]["endpoints"].as_array().into_iter().flatten();
        let mut urls = all.filter(|one| one["container"] == container).filter_map(|one| one["url"].as_str());
        let host = urls.find_map(|url| url.strip_prefix("https://"));
        host.unwrap_or_else(|| panic!("{container} has no address outside: {status:#}")).to_owned()
    }

    async fn json(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let text = self.ask(method, path, body).await;
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{method} {path}: {text}"))
    }

    /// Products with their stock, and orders: what a customer sees.
    async fn shown(&self) -> Value {
        json!({
            "products": self.json("GET", "/api/products", None).await,
            "orders": self.json("GET", "/api/orders", None).await,
        })
    }

    /// Sells two mugs; what is shown after it.
    async fn sells(&self) -> Value {
        let mug = |shown: &Value| {
            let products = shown["products"].as_array().into_iter().flatten();
            products.clone().find(|product| product["sku"] == "MUG-3").cloned().expect("there are mugs")
        };
        let number = |value: &Value, field: &str| value[field].as_u64().expect("it is a number");
        let before = mug(&self.shown().await);
        let order = json!({"customer": "Ada", "items": [{"productId": before["id"], "quantity": 2}]});
        let order = self.json("POST", "/api/orders", Some(&order)).await;
        assert_eq!(number(&order, "totalCents"), 2 * number(&before, "priceCents"));
        let shown = self.shown().await;
        assert_eq!(number(&mug(&shown), "stock"), number(&before, "stock") - 2);
        assert_eq!((&shown["orders"][0]["id"], &shown["orders"][0]["customer"]), (&order["id"], &json!("Ada")));
        shown
    }

    /// Counts one more visit, in Redis.
    async fn visits(&self) -> u64 {
        self.json("POST", "/api/visits", None).await["visits"].as_u64().expect("visits are counted")
    }

    /// The nodes that its pods are on.
    async fn nodes(&self) -> BTreeSet<String> {
        let pods = pods(&self.project.namespace().await).await;
        let live = pods.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        live.map(|pod| pod["spec"]["nodeName"].as_str().unwrap_or_default().to_owned()).collect()
    }

    async fn has_no_pod(&self) {
        let namespace = self.project.namespace().await;
        // The cluster itself removes what its ReplicaSets had.
        eventually(|| async {
            let left = pods(&namespace).await;
            seen(left.is_empty(), || format!("what sleeps has pods: {left:#?}"))
        })
        .await;
    }
}

/// A node that is the only one to take new pods, until this is dropped.
struct OnlyOne {
    others: Vec<String>,
}

impl OnlyOne {
    fn of(nodes: &[String], node: &str) -> OnlyOne {
        let others: Vec<String> = nodes.iter().filter(|other| *other != node).cloned().collect();
        assert!(kubectl_nodes("cordon", &others), "{others:?} take pods still");
        OnlyOne { others }
    }
}

/// A case that fails meanwhile leaves the others their nodes.
impl Drop for OnlyOne {
    fn drop(&mut self) {
        _ = kubectl_nodes("uncordon", &self.others);
    }
}

fn kubectl_nodes(verb: &str, nodes: &[String]) -> bool {
    let mut kubectl = std::process::Command::new("kubectl");
    let ended = kubectl.arg(verb).args(nodes).stdin(Stdio::null()).stdout(Stdio::null()).status();
    nodes.is_empty() || ended.is_ok_and(|status| status.success())
}

/// The nodes that take pods.
async fn nodes() -> Vec<String> {
    let listed = get(&["nodes"]).await;
    let takes = |node: &&Value| {
        let mut taints = node["spec"]["taints"].as_array().into_iter().flatten();
        taints.all(|taint| taint["effect"] == "PreferNoSchedule")
    };
    let nodes = listed["items"].as_array().into_iter().flatten().filter(takes);
    nodes.map(|node| node["metadata"]["name"].as_str().expect("a node has a name").to_owned()).collect()
}

/// Whether each volume of a namespace can be opened on any node.
async fn volumes_follow(namespace: &str) -> bool {
    let claims = get(&["persistentvolumeclaims", "--namespace", namespace]).await;
    for claim in claims["items"].as_array().into_iter().flatten() {
        let volume = claim["spec"]["volumeName"].as_str().expect("what is used is bound");
        if !get(&["persistentvolume", volume]).await["spec"]["nodeAffinity"].is_null() {
            return false;
        }
    }
    true
}

async fn by_file(target: Target) {
    let shop = Shop::named(&target);
    let nodes = nodes().await;
    let [first, more @ ..] = &nodes[..] else { panic!("no node takes pods") };
    let confined = OnlyOne::of(&nodes, first);
    shop.up().await;
    assert_eq!(shop.nodes().await, BTreeSet::from([first.clone()]));
    shop.opens().await;
    let seeded = shop.run(&["npm", "run", "seed"]).await;
    assert!(seeded.contains("6 products added"), "{seeded}");
    let (sold, visits) = (shop.sells().await, shop.visits().await);
    let edited = "Harbour shop, edited";
    let edit = ["fs", "edit", &shop.project.name, PAGE, "--old", "Harbour shop", "--new", edited];
    shop.project.cli.run(&edit).await.ok();
    eventually(|| async {
        let module = shop.ask("GET", "/src/App.tsx", None).await;
        seen(module.contains(edited), || format!("the page is made of {module}"))
    })
    .await;

    shop.project.verb("hibernate", &[]).await.ok();
    shop.has_no_pod().await;
    let namespace = shop.project.namespace().await;
    assert_eq!(claims(&namespace).await, ["data-cache", "data-db"], "the workspace is on the store alone");
    let another = if volumes_follow(&namespace).await { more.first() } else { None };
    drop(confined);
    let confined = another.map(|node| (node, OnlyOne::of(&nodes, node)));

    shop.project.verb("wake", &[]).await.ok();
    if let Some((node, _)) = &confined {
        assert_eq!(shop.nodes().await, BTreeSet::from([(*node).clone()]));
    }
    shop.opens().await;
    assert_eq!(shop.shown().await, sold);
    assert_eq!(shop.visits().await, visits + 1);
    assert!(shop.ask("GET", "/src/App.tsx", None).await.contains(edited));
    drop(confined);
    shop.project.remove().await;
}

async fn by_rest(target: Target) {
    let shop = Shop::named(&target);
    let name = &shop.project.name;
    let script = Command::new(shop.folder.join("create.sh"))
        .arg(name)
        .envs([("REMORA_SERVER", &target.server), ("REMORA_API_KEY", &target.key)])
        .env("NODE_IMAGE", target.image.as_deref().unwrap_or_default())
        .env("DATABASE_IMAGE", target.databases.as_deref().unwrap_or_default())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let ran = timeout(VERB_PATIENCE, script).await.expect("create.sh ends").expect("create.sh starts");
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{}{said}", String::from_utf8_lossy(&ran.stdout));

    let generation = shop.project.generation().await;
    let said = shop.up().await;
    assert!(!said.contains("changed"), "the file makes another shop: {said}");
    assert_eq!(shop.project.generation().await, generation);
    // Its own tests, with the databases that it has here.
    shop.run(&["npm", "test"]).await;
    shop.opens().await;
    let (sold, visits) = (shop.sells().await, shop.visits().await);

    let wish = async |verb: &str, wanted: &'static str| {
        let path = format!("/api/v1/projects/{name}/{verb}");
        request_as(&target.server, &target.key, "POST", &path, None).await.ok(202);
        shop.project.becomes(wanted, phase(wanted)).await;
    };
    wish("hibernate", "Hibernated").await;
    shop.has_no_pod().await;
    wish("wake", "Ready").await;
    shop.opens().await;
    assert_eq!(shop.shown().await, sold);
    assert_eq!(shop.visits().await, visits + 1);
    shop.project.remove().await;
}

//! Commands and terminals hop by hop: at the shim, at the agent, and through a server.
//! After each number, what it cost in each process: CPU time, and how often a thread of it waited, a
//! megabyte or each time.
//!
//! ```text
//! cargo build --release --workspace --bins --examples && target/release/examples/bench-stream [HOP...]
//! ```

#![expect(clippy::print_stdout, reason = "a benchmark's output is what it is for")]

use std::{fs, path::Path, time::Duration};

use anyhow::Context as _;
use hyper_util::rt::TokioIo;
use remora_proto::control::v1::{
    Container, CreateProjectRequest, Phase, ProjectSpec, WatchProjectsRequest,
    project_service_client::ProjectServiceClient,
};
use remora_proto::model::Verb;
use remora_tests::{
    pki::CLIENT_SAN,
    pod::{Pod, SECRET},
    server::{Authorised, ServerProcess, processes_of},
};
use remora_tests_integration::streams::{
    Headers, KEYS, PIPE_BYTES, ROUNDS, Served, TERMINAL_BYTES, percentile, rate, wide,
};
use rustix::process::Pid;
use tonic::transport::{Endpoint, Uri};

/// On the thread that asks, as `remora exec` and `sh` have it: with workers each answer would wake one and then it.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let asked: Vec<String> = std::env::args().skip(1).collect();
    let wanted = |hop: &str| asked.is_empty() || asked.iter().any(|asked| asked == hop);
    if wanted("shim") || wanted("agent") {
        let pod = Pod::start().await;
        if wanted("shim") {
            measure("shim", &at_shim(&pod).await?, pod.folder()).await?;
        }
        if wanted("agent") {
            measure("agent", &at_agent(&pod).await?, pod.folder()).await?;
        }
    }
    if wanted("server") {
        let server = ServerProcess::start().await;
        measure("server", &through(&server).await?, server.folder()).await?;
    }
    Ok(())
}

async fn at_shim(pod: &Pod) -> anyhow::Result<Served> {
    let socket = pod.shims[0].socket.clone();
    let connector = tower::service_fn(move |_: Uri| {
        let socket = socket.clone();
        async move { tokio::net::UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    let channel = wide(Endpoint::from_static("http://shim")).connect_with_connector(connector).await?;
    Ok(Served::new(channel, Headers::default().and("remora-shim-secret", SECRET)))
}

async fn at_agent(pod: &Pod) -> anyhow::Result<Served> {
    let endpoint = Endpoint::from_shared(format!("https://{}", pod.agent.grpc))?;
    let channel = wide(endpoint.tls_config(pod.pki.client_tls(CLIENT_SAN))?).connect().await?;
    let token = pod.pki.token(&pod.pki.capability(Verb::ALL));
    Ok(Served::new(channel, Headers::default().and("authorization", &format!("Bearer {token}"))))
}

/// A project of its own.
async fn through(server: &ServerProcess) -> anyhow::Result<Served> {
    let mut projects: ProjectServiceClient<Authorised> = server.projects().await;
    let container = Container { name: "dev".to_owned(), ..Container::default() };
    let spec = ProjectSpec { containers: vec![container], ..ProjectSpec::default() };
    projects.create(CreateProjectRequest { name: "bench".to_owned(), spec: Some(spec) }).await?;
    let mut events = projects.watch(WatchProjectsRequest { name: "bench".to_owned() }).await?.into_inner();
    let is_ready = |status: Option<remora_proto::control::v1::ProjectStatus>| {
        status.is_some_and(|status| status.phase() == Phase::Ready)
    };
    while !is_ready(events.message().await?.context("a watch goes on")?.project.and_then(|project| project.status)) {}
    let channel = wide(Endpoint::from_shared(server.url.clone())?).connect().await?;
    let key = format!("Bearer {}", server.key);
    Ok(Served::new(channel, Headers::default().and("authorization", &key).and("remora-project", "bench")))
}

async fn measure(hop: &str, served: &Served, folder: &Path) -> anyhow::Result<()> {
    // The first calls connect and fill caches.
    served.round_trips(20).await?;
    let before = Clock::of(folder);
    let time = served.pipe(PIPE_BYTES).await?;
    told(hop, &format!("pipe {:.0} MB/s", rate(PIPE_BYTES, time)), &before, folder, PIPE_BYTES as f64 / 1e9, "s/GB");
    let before = Clock::of(folder);
    let times = served.echo(KEYS).await?;
    told(hop, &spread("echo", &times), &before, folder, KEYS as f64 / 1e3, "ms each");
    let before = Clock::of(folder);
    let times = served.round_trips(ROUNDS).await?;
    told(hop, &spread("true", &times), &before, folder, ROUNDS as f64 / 1e3, "ms each");
    // Last: a terminal's screen is drawn after its flood, and that takes time from whatever comes next.
    let before = Clock::of(folder);
    let (time, lost) = served.terminal(TERMINAL_BYTES).await?;
    let what = format!("terminal {:.1} MB/s, {lost} bytes overwritten", rate(TERMINAL_BYTES - lost, time));
    told(hop, &what, &before, folder, TERMINAL_BYTES as f64 / 1e9, "s/GB");
    for process in Clock::of(folder).0 {
        println!("{hop:<7}     {} has {:.1} MiB, at most {:.1}", process.name, process.resident, process.peak);
    }
    Ok(())
}

fn spread(what: &str, times: &[Duration]) -> String {
    format!("{what} p50 {:.2} ms, p99 {:.2} ms", percentile(times, 50), percentile(times, 99))
}

fn told(hop: &str, what: &str, before: &Clock, folder: &Path, amount: f64, unit: &str) {
    let spent: Vec<String> = Clock::of(folder)
        .0
        .into_iter()
        .filter_map(|now| {
            let begin = before.0.iter().find(|process| process.pid == now.pid)?;
            let own = (now.own - begin.own) / amount;
            let programs = (now.programs - begin.programs) / amount;
            let programs = if programs > 0.0 { format!(", its programs {programs:.2}") } else { String::new() };
            let waits = (now.waits - begin.waits) / amount / 1e3;
            Some(format!("{} {own:.2} ({waits:.1} waits){programs}", now.name))
        })
        .collect();
    println!("{hop:<7} {what:<45} CPU, {unit}: {}", spent.join("; "));
}

/// The CPU seconds of the processes that concern a hop, and of this one.
struct Clock(Vec<Process>);

struct Process {
    pid: Pid,
    name: String,
    /// Seconds.
    own: f64,
    /// Seconds of the children that it has waited for.
    programs: f64,
    /// How often its threads that live have given a processor up to wait.
    waits: f64,
    /// MiB.
    resident: f64,
    peak: f64,
}

impl Clock {
    fn of(folder: &Path) -> Clock {
        let mut pids = processes_of(folder);
        pids.push(rustix::process::getpid());
        Clock(pids.into_iter().filter_map(process).collect())
    }
}

/// `None` where it is gone or none of ours.
fn process(pid: Pid) -> Option<Process> {
    let folder = Path::new("/proc").join(pid.as_raw_nonzero().to_string());
    let line = fs::read_to_string(folder.join("cmdline")).ok()?;
    let mut words = line.split('\0');
    let program = Path::new(words.next()?).file_name()?.to_str()?;
    let name = match program {
        "remora-agent" => words.next()?.replace("serve", "agent"),
        "remora" => "server".to_owned(),
        "bench-stream" => "client".to_owned(),
        _ => return None,
    };
    let stat = fs::read_to_string(folder.join("stat")).ok()?;
    // After the name, which may hold anything, from the third field on (proc(5)).
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let seconds = |at: usize| Some(fields.get(at - 3)?.parse::<f64>().ok()? / 100.0);
    let status = fs::read_to_string(folder.join("status")).ok()?;
    let mebibytes = |field: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(field))?;
        Some(line.split_whitespace().nth(1)?.parse::<f64>().ok()? / 1024.0)
    };
    Some(Process {
        pid,
        name,
        own: seconds(14)? + seconds(15)?,
        programs: seconds(16)? + seconds(17)?,
        waits: fs::read_dir(folder.join("task")).ok()?.flatten().filter_map(|task| waits(&task.path())).sum(),
        resident: mebibytes("VmRSS")?,
        peak: mebibytes("VmHWM")?,
    })
}

fn waits(task: &Path) -> Option<f64> {
    let status = fs::read_to_string(task.join("status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
    line.trim().parse().ok()
}

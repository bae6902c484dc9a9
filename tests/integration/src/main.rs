//! `remora-integration`: the suite against a server by its address.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{ArgAction, Parser, builder::BoolishValueParser};
use remora_tests_integration::{bench, cases, harness, soak, target::Target};

/// As both products have it, so that a measurement is none of musl's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Asks a running server for all that it must do; exits with 1 where it does not.
#[derive(Parser)]
#[command(name = "remora-integration", version)]
struct Args {
    /// Address of the server
    #[arg(long, env = "REMORA_SERVER", value_name = "URL")]
    server: String,
    /// A key with every right
    #[arg(long, env = "REMORA_KEY", hide_env_values = true, value_name = "KEY")]
    key: String,
    /// Image of dev containers where the server runs on a cluster, which kubectl reaches
    #[arg(long, env = "REMORA_TEST_IMAGE", value_name = "REFERENCE")]
    image: Option<String>,
    /// Image with PostgreSQL and Redis there
    #[arg(long, env = "REMORA_TEST_DATABASES", value_name = "REFERENCE")]
    databases: Option<String>,
    /// Folder of the shop of examples/, after `npm ci` in `api` and `frontend`
    #[arg(long, env = "REMORA_TEST_SHOP", value_name = "FOLDER")]
    shop: Option<PathBuf>,
    /// TLS entry of the ingress controller there, where the server routes exposed ports to it
    #[arg(long, env = "REMORA_TEST_INGRESS", value_name = "HOST:PORT")]
    ingress: Option<String>,
    /// Namespace of the server there
    #[arg(long, env = "REMORA_NAMESPACE", default_value = "remora", value_name = "NAME")]
    namespace: String,
    /// Whether daemons of the cluster's host stop when the ConfigMap host-fault asks for it
    #[arg(long, env = "REMORA_HOST_FAULTS", default_value = "no", value_name = "yes|no", action = ArgAction::Set,
          value_parser = BoolishValueParser::new())]
    host_faults: bool,
    /// Whether the cluster is as the rig's full profile, with enforced NetworkPolicies
    #[arg(long, env = "REMORA_FULL_PROFILE", default_value = "no", value_name = "yes|no", action = ArgAction::Set,
          value_parser = BoolishValueParser::new())]
    full_profile: bool,
    /// Cases that run beside one another
    #[arg(long, env = "REMORA_TEST_JOBS", default_value_t = 2)]
    jobs: usize,
    /// Where the outcomes are written as JUnit
    #[arg(long, env = "REMORA_TEST_JUNIT", value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Name the cases and run none
    #[arg(long)]
    list: bool,
    /// Run no case, and measure commands and terminals beside `kubectl exec`
    #[arg(long, conflicts_with_all = ["list", "words"])]
    bench: bool,
    /// Run the cases that disturb no others again and again, for so many minutes
    #[arg(long, value_name = "MINUTES", conflicts_with_all = ["list", "bench"])]
    soak: Option<u64>,
    /// Run one case that fails, to see what a run that fails leaves
    #[arg(long, conflicts_with_all = ["list", "bench", "soak", "words"])]
    fail_on_purpose: bool,
    /// Parts of the names of cases; without one all run
    words: Vec<String>,
}

#[expect(clippy::print_stdout, reason = "the list is what is asked for")]
fn main() -> anyhow::Result<ExitCode> {
    let Args {
        server,
        key,
        image,
        databases,
        shop,
        ingress,
        namespace,
        host_faults,
        full_profile,
        jobs,
        junit,
        list,
        bench,
        soak,
        fail_on_purpose,
        words,
    } = Args::parse();
    // An environment that has it empty has none.
    let databases = databases.filter(|reference| !reference.is_empty());
    let ingress = ingress.filter(|address| !address.is_empty());
    let target = Target { server, key, image, databases, shop, ingress, namespace, host_faults, full_profile };
    let cases = match fail_on_purpose {
        true => vec![harness::Case::new("fails::on_purpose", |_| async { panic!("it fails because it was asked to") })],
        false => harness::selected(cases::all(), &target, &words),
    };
    if list {
        cases.iter().for_each(|case| println!("{}", case.name));
        return Ok(ExitCode::SUCCESS);
    }
    if bench {
        // On the thread that asks, as `remora exec` and `sh` have it: with workers each answer would wake one and then it.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        return runtime.block_on(bench::run(target)).map(|()| ExitCode::SUCCESS);
    }
    let runtime = tokio::runtime::Runtime::new()?;
    let outcomes = match soak {
        Some(minutes) => {
            runtime.block_on(soak::run(cases, &target, jobs, Duration::from_secs(minutes.saturating_mul(60))))
        }
        None => runtime.block_on(harness::run(cases, &target, jobs)),
    };
    if let Some(path) = junit {
        harness::report(&outcomes, &path)?;
    }
    let failed = outcomes.iter().filter(|outcome| outcome.failure.is_some()).count();
    let skipped = outcomes.iter().filter(|outcome| outcome.skipped.is_some()).count();
    let passed = outcomes.len() - failed - skipped;
    eprintln!("integration: {passed} passed, {failed} failed, {skipped} skipped");
    // Where nothing ran, nothing was shown.
    Ok(if failed == 0 && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

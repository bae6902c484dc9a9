//! `remora doctor`: what works and what does not, from the near to the far, and
//! what to do about it.

use std::{
    io::Write as _,
    net::{TcpStream, ToSocketAddrs as _},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use clap::Args;
use remora_proto::{
    control::v1::{GetServerInfoRequest, ListProjectsRequest, ServerInfo},
    convert::control::role,
    fault::from_status,
};
use remora_proto_model::{
    Fault, Reason,
    project::{ConditionType, Orphans, Project, Role},
};
use serde::Serialize;
use tokio::time::timeout;

use super::version::CLIENT;
use crate::{
    Context, Failure, GlobalArgs, clients,
    follow::domain,
    limits::{DOCTOR_PATIENCE, MAX_CLOCK_DIFFERENCE, PAGE},
    output::{Format, OutputArgs, escape, print},
};

/// Flags of `remora doctor`.
#[derive(Args, Clone, Debug)]
pub struct DoctorArgs {
    #[command(flatten)]
    output: OutputArgs,
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "UPPERCASE")]
enum Level {
    Ok,
    Warn,
    Fail,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Check {
    level: Level,
    what: &'static str,
    found: String,
    /// What to do; empty where all is well.
    advice: String,
}

impl Check {
    fn ok(what: &'static str, found: impl Into<String>) -> Self {
        Check { level: Level::Ok, what, found: found.into(), advice: String::new() }
    }

    fn warn(what: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Check { level: Level::Warn, what, found: found.into(), advice: advice.into() }
    }

    fn fail(what: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Check { level: Level::Fail, what, found: found.into(), advice: advice.into() }
    }
}

/// Runs the verb. A FAIL ends in exit code 1; later checks that need what failed are left out.
pub(crate) async fn run(global: &GlobalArgs, args: DoctorArgs) -> Result<(), Failure> {
    let checks = look(global).await;
    let text = match args.output.format {
        Format::Json => serde_json::to_string_pretty(&checks).expect("plain values are JSON") + "\n",
        Format::Yaml => serde_norway::to_string(&checks).expect("plain values are YAML"),
        _ => lines(&checks),
    };
    print(text.as_bytes())?;
    let failed = checks.iter().any(|check| check.level == Level::Fail);
    if failed { Err(Failure::Code(1)) } else { Ok(()) }
}

fn lines(checks: &[Check]) -> String {
    let mut text = Vec::new();
    for Check { level, what, found, advice } in checks {
        let level = format!("{level:?}").to_uppercase();
        // Writing to memory cannot fail.
        _ = writeln!(text, "{level:<5}{what:<9}{}", escape(found));
        if !advice.is_empty() {
            _ = writeln!(text, "{:<14}{}", "", escape(advice));
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

async fn look(global: &GlobalArgs) -> Vec<Check> {
    let mut checks = Vec::new();
    let context = match super::context(global) {
        Ok(context) => context,
        Err(error) => {
            checks.push(Check::fail("context", error.to_string(), error.hint()));
            return checks;
        }
    };
    checks.push(Check::ok("context", format!("server {}", context.server)));
    let info = match ask(&context).await {
        Ok((info, before, after, server_time)) => {
            checks.push(Check::ok("server", format!("answers in {} ms", (after - before).as_millis())));
            checks.extend(server_time.map(|time| clock(before, after, time)));
            info
        }
        Err(fault) => {
            checks.push(unanswered(&context, &fault));
            return checks;
        }
    };
    checks.push(key(&info));
    checks.push(version(&info.version));
    checks.push(agent(&info));
    checks.push(store(&info.store));
    match projects(&context).await {
        Ok(projects) => checks.push(condition_of(&projects)),
        Err(failure) => checks.push(Check::fail("projects", failure.to_string(), "`remora ls` asks again")),
    }
    // Of others' things only admins are told.
    if role(info.role).is_ok_and(|role| role == Role::Admin) {
        checks.push(orphans(super::orphans::ask(&context).await));
    }
    checks
}

/// The server's answer about itself, when it was asked and answered, and the time it says it is.
async fn ask(context: &Context) -> Result<(ServerInfo, Duration, Duration, Option<Duration>), Fault> {
    let since_epoch = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let slow = || Fault::new(Reason::DeadlineExceeded, format!("no answer within {} s", DOCTOR_PATIENCE.as_secs()));
    let mut client = match timeout(DOCTOR_PATIENCE, clients::server(context)).await {
        Ok(Ok(client)) => client,
        Ok(Err(Failure::Fault(fault))) => return Err(fault),
        Ok(Err(other)) => return Err(Fault::new(Reason::Unavailable, other.to_string())),
        Err(_) => return Err(slow()),
    };
    let before = since_epoch();
    let answer = timeout(DOCTOR_PATIENCE, client.get_info(GetServerInfoRequest {})).await.map_err(|_| slow())?;
    let answer = answer.map_err(|status| from_status(&status))?;
    let after = since_epoch();
    let date = answer.metadata().get("date").and_then(|date| date.to_str().ok()).and_then(http_date);
    Ok((answer.into_inner(), before, after, date))
}

/// The `date` header (RFC 9110, 5.6.7) as time since the epoch.
fn http_date(text: &str) -> Option<Duration> {
    use time::{PrimitiveDateTime, macros::format_description};

    let form =
        format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");
    let seconds = PrimitiveDateTime::parse(text, form).ok()?.assume_utc().unix_timestamp();
    u64::try_from(seconds).ok().map(Duration::from_secs)
}

fn clock(before: Duration, after: Duration, server: Duration) -> Check {
    // The header has whole seconds, cut off.
    let (earliest, latest) = (server, server + Duration::from_secs(1));
    let difference = earliest.saturating_sub(after).max(before.saturating_sub(latest));
    if difference > MAX_CLOCK_DIFFERENCE {
        return Check::fail(
            "clock",
            format!("this machine and the server are {} s apart", difference.as_secs()),
            "set both by NTP: tokens are refused as expired or not yet valid",
        );
    }
    Check::ok("clock", format!("within {} s of the server's", difference.as_secs() + 1))
}

fn unanswered(context: &Context, fault: &Fault) -> Check {
    let advice = match fault.reason {
        Reason::CredentialsInvalid | Reason::CredentialsExpired | Reason::CredentialsMissing => {
            return Check::fail(
                "key",
                fault.message.to_string(),
                "the server answers and does not take the API key: run `remora local` again, or set REMORA_API_KEY",
            );
        }
        _ if listens(&context.server) == Some(false) => {
            "nothing listens there: start `remora local`, or correct the address in the context file or REMORA_SERVER"
                .to_owned()
        }
        _ if !fault.hint.is_empty() => fault.hint.to_string(),
        _ => "something listens there and is no server of Remora, or it is busy: look at its log".to_owned(),
    };
    Check::fail("server", fault.message.to_string(), advice)
}

/// Whether anybody takes connections at the address of `url`; `None` where it names none.
fn listens(url: &str) -> Option<bool> {
    let uri: tonic::codegen::http::Uri = url.parse().ok()?;
    let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
    let address = (uri.host()?.trim_matches(['[', ']']), port).to_socket_addrs().ok()?.next()?;
    Some(TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok())
}

fn key(info: &ServerInfo) -> Check {
    match role(info.role) {
        Ok(role) => Check::ok("key", format!("{} ({role:?})", info.caller)),
        Err(_) => Check::warn(
            "key",
            format!("{} has a role that this version does not know", info.caller),
            "use a client of the server's version",
        ),
    }
}

/// Versions of one minor line work together; an older client may lack words of a newer server.
fn version(server: &str) -> Check {
    let line = |version: &str| version.split('.').take(2).map(str::to_owned).collect::<Vec<_>>();
    if line(server) == line(CLIENT) {
        return Check::ok("version", format!("client {CLIENT}, server {server}"));
    }
    Check::warn("version", format!("client {CLIENT}, server {server}"), "use a client of the server's version")
}

/// Server and agent are of one release: they are installed together, and tested together alone.
fn agent(info: &ServerInfo) -> Check {
    let advice = "install remora and remora-agent of one version, then start the server again";
    match info.agent_version.as_str() {
        "" if info.agent_problem.is_empty() => {
            Check::warn("agent", "the server does not say which one it starts", "use a client of the server's version")
        }
        "" => Check::fail("agent", &*info.agent_problem, advice),
        agent if agent != info.version => {
            Check::warn("agent", format!("remora-agent {agent}, and the server is {}", info.version), advice)
        }
        agent => Check::ok("agent", format!("remora-agent {agent}")),
    }
}

fn store(store: &str) -> Check {
    if store.is_empty() {
        return Check::fail("store", "the server has no store", "without one nothing is kept: give it --s3-endpoint");
    }
    Check::ok("store", store)
}

async fn projects(context: &Context) -> Result<Vec<Project>, Failure> {
    let mut client = clients::projects(context).await?;
    let request = ListProjectsRequest { page_size: PAGE, page_token: String::new() };
    client.list(request).await?.into_inner().projects.into_iter().map(domain).collect()
}

/// What of the projects wants somebody's attention.
fn condition_of(projects: &[Project]) -> Check {
    let bad = |kind| matches!(kind, ConditionType::HibernateBlocked | ConditionType::Fenced | ConditionType::Degraded);
    let troubled: Vec<_> = projects
        .iter()
        .filter_map(|project| {
            let condition =
                project.status.conditions.iter().find(|condition| condition.status && bad(condition.kind))?;
            Some(format!("{} ({}: {})", project.name, condition.kind, condition.message))
        })
        .collect();
    if troubled.is_empty() {
        return Check::ok("projects", format!("{} looked at, none in trouble", projects.len()));
    }
    Check::warn("projects", troubled.join(", "), "`remora status NAME` shows everything about one")
}

/// What belongs to no project.
fn orphans(found: Result<Orphans, Failure>) -> Check {
    let advice = "`remora orphans` lists it; nothing of it is removed by itself";
    match found {
        Err(Failure::Fault(fault)) if fault.reason == Reason::Unimplemented => {
            Check::warn("orphans", "the server does not look for any", "use a client of the server's version")
        }
        Err(failure) => Check::warn("orphans", failure.to_string(), "`remora orphans` asks again"),
        Ok(Orphans { orphans, .. }) if !orphans.is_empty() => {
            Check::warn("orphans", format!("{} things belong to no project", orphans.len()), advice)
        }
        Ok(Orphans { unseen, .. }) if !unseen.is_empty() => {
            Check::warn("orphans", format!("not looked at: {}", unseen.join("; ")), advice)
        }
        Ok(_) => Check::ok("orphans", "nothing belongs to no project"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_that_are_apart_are_found() {
        let at = Duration::from_secs;
        assert_eq!(clock(at(100), at(101), at(100)).level, Level::Ok);
        assert_eq!(clock(at(100), at(101), at(131)).level, Level::Ok);
        assert_eq!(clock(at(100), at(101), at(140)).level, Level::Fail);
        assert_eq!(clock(at(100), at(101), at(60)).level, Level::Fail);
        assert_eq!(http_date("Tue, 14 Nov 2023 22:13:20 GMT"), Some(at(1_700_000_000)));
        assert_eq!(http_date("yesterday"), None);
    }

    #[test]
    fn a_skew_of_versions_is_a_warning() {
        assert_eq!(version(CLIENT).level, Level::Ok);
        assert_eq!(version("99.0.1").level, Level::Warn);
    }

    #[test]
    fn an_agent_that_is_missing_fails_and_another_version_warns() {
        let info = |agent: &str, problem: &str| ServerInfo {
            version: "1.2.3".to_owned(),
            agent_version: agent.to_owned(),
            agent_problem: problem.to_owned(),
            ..ServerInfo::default()
        };
        assert_eq!(agent(&info("1.2.3", "")).level, Level::Ok);
        assert_eq!(agent(&info("1.2.4", "")).level, Level::Warn);
        assert_eq!(agent(&info("", "")).level, Level::Warn);
        let missing = agent(&info("", "/x/remora-agent cannot be run: no such file"));
        assert!(missing.level == Level::Fail && missing.found.contains("/x/remora-agent"), "{missing:?}");
    }

    #[test]
    fn each_line_says_what_to_do() {
        let checks = [Check::ok("context", "x"), Check::fail("store", "bad \x1b[2J", "do this")];
        assert_eq!(lines(&checks), "OK   context  x\nFAIL store    bad \\x1b[2J\n              do this\n");
        let json = serde_json::to_value(&checks).unwrap();
        assert_eq!(json[1]["level"], "FAIL");
    }

    #[test]
    fn nobody_at_an_address_is_told_apart_from_somebody_else() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        assert_eq!(listens(&url), Some(true));
        drop(listener);
        assert_eq!(listens(&url), Some(false));
        assert_eq!(listens("x"), None);
    }
}

//! The agent without keys: a token opens the store, and only as long as somebody trusts it.

use std::{fs, path::PathBuf, process::Output};

use remora_proto::{
    agent::v1::SnapshotInfo,
    model::{Effect, Fault, Reason},
};
use remora_tests::{
    agent::{AgentProcess, PATIENCE, role_command, serve_command, serve_flags},
    issuer::{AUDIENCE, Claims},
    seaweed::fresh_prefix,
    token_service::{PROJECT, ROLE_ARN, STRANGER, token_service},
    tree::{assert_same, record},
};
use tokio::{process::Command, time::timeout};

use crate::{
    snapshot_hydrate::create,
    snapshot_project::{Ended, Project},
};

/// A project whose agents have a token.
struct Trusted {
    project: Project,
    token: PathBuf,
}

impl Trusted {
    async fn new(prefix: &str) -> Trusted {
        // Answers once the bucket does.
        token_service().store.store(prefix).await.unwrap();
        let project = Project::at(prefix, None);
        let token = project.folder.path().join("token");
        let trusted = Trusted { project, token };
        trusted.shows(&token_service().token(PROJECT));
        trusted
    }

    /// Replaces the token as the kubelet does, in one step.
    fn shows(&self, token: &str) {
        let next = self.token.with_extension("next");
        fs::write(&next, token).unwrap();
        fs::rename(next, &self.token).unwrap();
    }

    fn flags(&self) -> Vec<(String, String)> {
        let mut flags = self.project.flags();
        for (_, value) in flags.iter_mut().filter(|(flag, _)| flag == "--s3-endpoint") {
            value.clone_from(&token_service().store.endpoint);
        }
        flags
    }

    /// Nothing but the variables that a pod has.
    fn environment<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env_remove("AWS_ACCESS_KEY_ID")
            .env_remove("AWS_SECRET_ACCESS_KEY")
            .env("AWS_ROLE_ARN", ROLE_ARN)
            .env("AWS_WEB_IDENTITY_TOKEN_FILE", &self.token)
            .env("AWS_ROLE_SESSION_NAME", "proj-test")
            .env("AWS_ENDPOINT_URL_STS", &token_service().store.endpoint)
    }

    async fn run(&self, role: &str, generation: u64) -> Ended {
        self.run_with(role, generation, |_| {}).await
    }

    async fn run_with(&self, role: &str, generation: u64, change: fn(&mut Command)) -> Ended {
        let message = self.project.folder.path().join("message");
        let _ = fs::remove_file(&message);
        let mut flags = self.flags();
        flags.push(("--project".to_owned(), self.project.pki.project.to_string()));
        flags.push(("--generation".to_owned(), generation.to_string()));
        flags.push(("--termination-message".to_owned(), message.display().to_string()));
        let mut command = role_command(role, &flags);
        change(self.environment(&mut command));
        let Output { status, stderr, .. } = command.spawn().unwrap().wait_with_output().await.unwrap();
        Ended {
            code: status.code(),
            message: serde_json::from_slice(&fs::read(&message).unwrap_or_default()).unwrap_or_default(),
            log: String::from_utf8_lossy(&stderr).into_owned(),
        }
    }
}

fn outcome(ended: &Ended) -> (Option<i32>, Option<&str>) {
    (ended.code, ended.message["outcome"].as_str())
}

#[tokio::test]
async fn a_workspace_sleeps_and_wakes_with_a_token_and_no_key() {
    let first = Trusted::new(&fresh_prefix()).await;
    let began = first.run("hydrate", 1).await;
    assert_eq!(outcome(&began), (Some(0), Some("empty")), "{}", began.log);
    fs::write(first.project.workspace().join("main.ts"), "console.log(1)").unwrap();
    let slept = first.run("dehydrate", 1).await;
    assert_eq!(outcome(&slept), (Some(0), Some("committed")), "{}", slept.log);

    let second = Trusted::new(first.project.prefix()).await;
    let woke = second.run("hydrate", 2).await;
    assert_eq!(outcome(&woke), (Some(0), Some("restored")), "{}", woke.log);
    assert_same(&record(&first.project.workspace()).unwrap(), &record(&second.project.workspace()).unwrap());
}

/// Who is not trusted is told so, and nothing is started on an empty tree.
#[tokio::test]
async fn a_token_that_nobody_trusts_is_refused_with_words() {
    let trusted = Trusted::new(&fresh_prefix()).await;
    let claims = Claims { subject: PROJECT.to_owned(), audience: AUDIENCE.to_owned(), lifetime: 3_600 };
    let of = |claims: Claims| token_service().token_with(&claims);
    let mut forged = of(claims.clone());
    forged.replace_range(forged.len() - 8.., "AAAAAAAA");
    for (token, word) in [
        (of(Claims { lifetime: -60, ..claims.clone() }), "ExpiredToken"),
        (of(Claims { subject: STRANGER.to_owned(), ..claims.clone() }), "AccessDenied"),
        (of(Claims { audience: "vault".to_owned(), ..claims }), "audience"),
        (forged, "signature"),
    ] {
        trusted.shows(&token);
        let refused = trusted.run("hydrate", 1).await;
        assert_eq!(refused.message["reason"].as_str(), Some("STORE_DENIED"), "{}", refused.log);
        let message = refused.message["message"].as_str().unwrap();
        assert!(message.contains("the token service does not take the token") && message.contains(word), "{message}");
        assert!(!refused.log.contains(&token), "the token is in the log");
        assert_ne!(refused.code, Some(0));
    }
    fs::remove_file(&trusted.token).unwrap();
    let refused = trusted.run("hydrate", 1).await;
    assert_eq!(refused.message["reason"].as_str(), Some("STORE_DENIED"), "{}", refused.log);
    assert!(refused.message["message"].as_str().unwrap().contains("cannot be read"), "{}", refused.message);
}

/// Who does not answer may do so later, which is another word.
#[tokio::test]
async fn a_token_service_that_is_away_is_no_refusal() {
    let trusted = Trusted::new(&fresh_prefix()).await;
    let nobody = |command: &mut Command| {
        command.env("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:9");
    };
    let away = trusted.run_with("hydrate", 1, nobody).await;
    assert_eq!(away.message["reason"].as_str(), Some("STORE_UNAVAILABLE"), "{}", away.log);
    let message = away.message["message"].as_str().unwrap();
    assert!(message.contains("the token service did not answer"), "{message}");
}

/// An agent runs for weeks, credentials do not: each time they run out the token
/// is read anew. Here it turns bad and good again under a running agent.
#[tokio::test]
async fn a_running_agent_reads_its_token_anew() {
    let trusted = Trusted::new(&fresh_prefix()).await;
    trusted.run("hydrate", trusted.project.pki.generation.0).await;
    let flags = [serve_flags(&trusted.project.pki), trusted.flags()].concat();
    let mut command = serve_command(&flags);
    trusted.environment(&mut command);
    let agent = AgentProcess::of(command).await;
    let mut client = trusted.project.client(&agent).await;
    let mut number = 0_u32;
    let mut snapshot = async || -> Result<SnapshotInfo, Fault> {
        number += 1;
        fs::write(trusted.project.workspace().join("number"), number.to_string()).unwrap();
        create(&mut client).await
    };
    let first = snapshot().await.unwrap();

    trusted.shows(&token_service().token(STRANGER));
    let refusal = timeout(PATIENCE, async {
        loop {
            match snapshot().await {
                // They ran out after the root was stored and before it was read back.
                Err(fault) if fault.effect == Effect::MayHaveApplied => {}
                Err(fault) => return fault,
                Ok(_) => {}
            }
        }
    });
    let refusal = refusal.await.expect("the credentials of the first token run out");
    assert_eq!(refusal.reason, Reason::StoreDenied, "{refusal}");

    trusted.shows(&token_service().token(PROJECT));
    let last = snapshot().await.unwrap();
    assert!(last.sequence > first.sequence, "{last:?}");
}

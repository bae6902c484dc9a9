//! A store that goes away and comes back.

use remora_proto_model::project::{ConditionType, Desired, Phase};
use remora_tests::seaweed::{fresh_prefix, seaweed};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::AbortHandle,
};

use crate::rig::{Rig, endpoint, process_of};

/// Passes connections on to the store while it is there; otherwise closes them.
struct Way {
    url: String,
    there: watch::Sender<bool>,
    task: AbortHandle,
}

impl Way {
    async fn new(to: &str) -> Way {
        let to = to.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (there, _) = watch::channel(true);
        let state = there.clone();
        let task = tokio::spawn(async move {
            while let Ok((mut from, _)) = listener.accept().await {
                let mut state = state.subscribe();
                let to = to.clone();
                tokio::spawn(async move {
                    if !*state.borrow() {
                        return;
                    }
                    let Ok(mut on) = TcpStream::connect(to).await else { return };
                    tokio::select! {
                        _ = copy_bidirectional(&mut from, &mut on) => {}
                        _ = state.wait_for(|there| !*there) => {}
                    }
                });
            }
        });
        Way { url, there, task: task.abort_handle() }
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_store_nothing_ends_and_with_it_again_everything_does() {
    let prefix = fresh_prefix();
    seaweed().store(&prefix).await.unwrap().list("", None).await.unwrap();
    let way = Way::new(&seaweed().endpoint).await;
    let rig = Rig::over(endpoint(&way.url, &prefix)).await;
    let project = rig.counter().await;
    way.there.send_replace(false);
    rig.projects.set_desired(project.id, Desired::Hibernated).await.unwrap();
    let blocked = rig
        .becomes(project.id, |project| {
            let blocked = |kind| project.status.conditions.iter().any(|there| there.kind == kind && there.status);
            blocked(ConditionType::HibernateBlocked)
        })
        .await;
    let said = blocked.status.conditions.iter().find(|there| there.kind == ConditionType::HibernateBlocked).unwrap();
    assert!(said.message.contains("STORE_UNAVAILABLE"), "{said:?}");
    // It serves on: the container writes, and the agent takes calls.
    let count = rig.count(project.id);
    assert_eq!(process_of(&rig.data(), "shim").len(), 1);
    rig.becomes(project.id, |_| rig.count(project.id) > count).await;
    assert!(rig.projects.agent(project.id).is_ok());
    way.there.send_replace(true);
    rig.reaches(project.id, Phase::Hibernated).await;
    assert!(!rig.workspace(project.id).exists());
    rig.wants(project.id, Desired::Running, Phase::Ready).await;
    assert!(rig.count(project.id) > count);
}

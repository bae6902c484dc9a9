//! A store that goes away and comes back.

use remora_proto_model::project::{ConditionType, Desired, Phase};
use remora_tests::{
    seaweed::{fresh_prefix, seaweed},
    store_way::Way,
};

use crate::rig::{Rig, endpoint, process_of};

#[tokio::test(flavor = "multi_thread")]
async fn without_the_store_nothing_ends_and_with_it_again_everything_does() {
    let prefix = fresh_prefix();
    seaweed().store(&prefix).await.unwrap().list("", None).await.unwrap();
    let way = Way::new(&seaweed().endpoint).await;
    let rig = Rig::over(endpoint(&way.url, &prefix)).await;
    let project = rig.counter().await;
    way.open(false);
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
    assert!(rig.projects.agent(project.id).await.is_ok());
    way.open(true);
    rig.reaches(project.id, Phase::Hibernated).await;
    assert!(!rig.workspace(project.id).exists());
    rig.wants(project.id, Desired::Running, Phase::Ready).await;
    assert!(rig.count(project.id) > count);
}

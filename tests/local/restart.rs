//! kill -9 of the server while projects run: they run on, and the next server
//! finds them as they are.

use std::fs;

use remora_proto::{
    agent::v1::{StatRequest, file_service_client::FileServiceClient},
    control::v1::{Phase, StopProjectRequest},
};
use remora_tests::server::ServerProcess;

use crate::running::{agent_of, generation, get, reach, run, workspace};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_of_the_server_leaves_projects_running_and_they_are_found_again() {
    let mut server = ServerProcess::start().await;
    let before = run(&server, "a").await;
    let agent = agent_of(&server, &before);
    fs::write(workspace(&server, &before).join("file"), "x").unwrap();
    for _ in 0..2 {
        server.kill().await;
        server.restart().await;
        let after = reach(&server, "a", Phase::Ready).await;
        assert_eq!((&after.id, &after.spec), (&before.id, &before.spec));
        assert_eq!(generation(&after), generation(&before), "nothing was started anew");
        assert_eq!(agent_of(&server, &after), agent, "the same process");
        let mut files = FileServiceClient::new(server.authorised(&server.key, Some("a")).await);
        let request = StatRequest { paths: vec![b"file".to_vec().into()], ..StatRequest::default() };
        files.stat(request).await.expect("the agent is called by the new server");
    }
    // It is not only looked at: it does what is wanted of it.
    server.projects().await.stop(StopProjectRequest { name: "a".to_owned() }).await.unwrap();
    reach(&server, "a", Phase::Stopped).await;
    assert!(workspace(&server, &before).join("file").exists(), "the tree stays");
    assert!(get(&server, "a").await.status.unwrap().head.is_some(), "its final snapshot is committed");
}

//! A token limited to a folder: that folder is the whole world.

use std::{fs, os::unix::fs::symlink};

use remora_proto::{
    agent::v1::{ReadRequest, StatRequest, WriteRequest, stat_result::Result as Looked, write_request::Part},
    model::{Capability, PathPrefix, Reason, Verb},
};
use remora_tests::{agent::AgentProcess, pki::Pki};

use super::{Served, answer, client, head};

#[tokio::test]
async fn a_token_with_a_prefix_sees_nothing_above_it() {
    let served = Served::start().await;
    let base = served.base();
    fs::create_dir_all(base.join("apps/web")).unwrap();
    fs::write(base.join("apps/web/own"), "own").unwrap();
    fs::write(base.join("other"), "other").unwrap();
    symlink("../../other", base.join("apps/web/up")).unwrap();
    symlink("own", base.join("apps/web/link")).unwrap();
    let prefix = Some(PathPrefix::try_from("apps/web".to_owned()).unwrap());
    let capability = Capability { path_prefix: prefix, ..served.pki.capability(Verb::ALL) };
    let mut limited = client(&served.pki, &served.agent, &capability).await;
    let read = |path: &'static str| ReadRequest { path: path.into(), ..Default::default() };
    for name in ["own", "link"] {
        assert_eq!(answer(limited.read(read(name)).await).unwrap().data, "own");
    }
    for (path, reason) in [
        ("up", Reason::PathEscapesRoot),
        ("../../other", Reason::PathInvalid),
        ("apps/web/own", Reason::NotFound),
        ("other", Reason::NotFound),
    ] {
        assert_eq!(answer(limited.read(read(path)).await).unwrap_err().reason, reason, "{path}");
    }
    let stat = StatRequest { paths: vec!["own".into()], follow: true };
    match answer(limited.stat(stat).await).unwrap().results.remove(0).result.unwrap() {
        Looked::Info(info) => assert_eq!(info.path, "own"),
        Looked::Error(error) => panic!("{error:?}"),
    }
    let upload = [Part::Head(head(b"new")), Part::Data("new".into()), Part::End(true)]
        .map(|part| WriteRequest { part: Some(part) });
    limited.write(tokio_stream::iter(upload)).await.unwrap();
    assert_eq!(fs::read(base.join("apps/web/new")).unwrap(), b"new");

    // The folder is found anew at each call: gone, it is nobody's; a link out is refused.
    fs::rename(base.join("apps/web"), base.join("apps/moved")).unwrap();
    assert_eq!(answer(limited.read(read("own")).await).unwrap_err().reason, Reason::NotFound);
    symlink("../..", base.join("apps/web")).unwrap();
    assert_eq!(answer(limited.read(read("secret")).await).unwrap_err().reason, Reason::PathEscapesRoot);
}

#[tokio::test]
async fn without_a_workspace_a_call_says_which_flag_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let pki = Pki::new(folder.path());
    let agent = AgentProcess::start(&pki).await;
    let mut client = client(&pki, &agent, &pki.capability(Verb::ALL)).await;
    let fault = answer(client.read(ReadRequest::default()).await).unwrap_err();
    assert_eq!(fault.reason, Reason::FailedPrecondition);
    assert!(fault.hint.contains("--workspace"), "{fault}");
}

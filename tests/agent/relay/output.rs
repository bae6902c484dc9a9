//! Output that is still on its way when the program has ended.

use remora_proto::agent::v1::{
    Argv, AttachCommandRequest, CommandSpec, GetOutputRequest, OutputStream, RunRequest, StreamRange, WaitRequest,
    command_output::Frame, command_spec::Program, exit_status::Cause,
};
use remora_tests::{agent::PATIENCE, pod::Pod};
use tokio::time::timeout;

use super::{start, words};

const BYTES: usize = 8 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_mib_and_an_exit_at_once_are_complete_fifty_times() {
    let pod = Pod::start().await;
    let mut truth = vec![0; BYTES];
    blake3::Hasher::new().finalize_xof().fill(&mut truth);
    std::fs::write(pod.workspace.join("truth"), &truth).unwrap();
    // No shell: the program that writes is the one whose exit is waited for.
    let spec = CommandSpec {
        program: Some(Program::Argv(Argv { words: words(&["cat", "truth"]) })),
        ..CommandSpec::default()
    };
    let whole = StreamRange { base: 0, head: BYTES as u64 };
    let mut commands = pod.commands().await;
    for round in 0..50 {
        let (ended, seen) = if round % 2 == 0 {
            let id = start(&pod, spec.clone()).await;
            let wait = WaitRequest { id: id.clone(), timeout_ms: 30_000, ..WaitRequest::default() };
            let ended = commands.wait(wait).await.unwrap().into_inner();
            let mut seen = Vec::with_capacity(BYTES);
            while seen.len() < BYTES {
                let request = GetOutputRequest {
                    id: id.clone(),
                    stream: OutputStream::Stdout.into(),
                    offset: seen.len() as u64,
                    limit: 1 << 20,
                    ..GetOutputRequest::default()
                };
                let answer = commands.get_output(request).await.unwrap().into_inner();
                assert_eq!((answer.offset, answer.held), (seen.len() as u64, Some(whole)), "round {round}");
                assert!(!answer.data.is_empty(), "round {round}");
                seen.extend_from_slice(&answer.data);
            }
            (ended, seen)
        } else {
            let id = start(&pod, spec.clone()).await;
            let request = AttachCommandRequest { id, ..AttachCommandRequest::default() };
            let mut stream = commands.attach(request).await.unwrap().into_inner();
            let mut seen = Vec::with_capacity(BYTES);
            let ended = loop {
                match timeout(PATIENCE, stream.message()).await.unwrap().unwrap().unwrap().frame.unwrap() {
                    Frame::Data(data) => {
                        assert_eq!((data.stream(), data.offset), (OutputStream::Stdout, seen.len() as u64));
                        seen.extend_from_slice(&data.data);
                    }
                    Frame::Exit(exit) => break exit.command.unwrap(),
                    Frame::Gap(gap) => panic!("round {round}: {gap:?}"),
                    Frame::Heartbeat(_) => {}
                }
            };
            (ended, seen)
        };
        let exit = ended.exit.unwrap();
        assert_eq!((exit.cause(), exit.code, ended.stdout), (Cause::Exited, Some(0), Some(whole)), "round {round}");
        assert!(seen == truth, "round {round}: {} bytes, or others than were printed", seen.len());
    }
    let run = RunRequest { command: Some(spec), ..RunRequest::default() };
    let ran = commands.run(run).await.unwrap().into_inner();
    assert_eq!(ran.command.unwrap().stdout, Some(whole));
    assert_eq!(ran.stdout.unwrap().truncated.unwrap().total, BYTES as u64);
}

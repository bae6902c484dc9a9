//! What a viewer is shown is what the program printed: at any offset, while it
//! prints and afterwards, whoever else watches.

use std::time::Duration;

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use remora_proto::agent::v1::{
    AttachStart, GetTerminalRequest, StreamRange, attach_start, attach_start::From, exit_status::Cause,
    terminal_output::Frame,
};
use remora_tests::{eventually::eventually, pod::Pod};

use super::{Attached, Client, attach, open, viewer, writer};

/// The largest ring that can be asked for, bytes.
const RING: u32 = 16 << 20;

/// What the program prints: a file in the workspace, printed a part at a time.
struct Truth {
    bytes: Vec<u8>,
    part: usize,
}

impl Truth {
    /// `parts` of `part` bytes each, of every value, the same for the same seed.
    fn new(pod: &Pod, seed: u64, parts: usize, part: usize) -> Truth {
        let mut bytes = vec![0; parts * part];
        blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
        std::fs::write(pod.workspace.join("truth"), &bytes).unwrap();
        Truth { bytes, part }
    }

    fn total(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Prints each part after `wait`, which may say the part's number as `$n`.
    fn script(&self, wait: &str) -> String {
        let (parts, part) = (self.bytes.len() / self.part, self.part);
        format!(
            "stty raw -echo; n=0; while [ $n -lt {parts} ]; do {wait}; tail -c +$((n * {part} + 1)) truth | head -c {part}; n=$((n + 1)); done"
        )
    }

    fn has(&self, offset: u64, data: &[u8]) -> bool {
        self.bytes.get(offset as usize..).is_some_and(|rest| rest.starts_with(data))
    }

    /// Follows from `next` on to `until` or the end, and checks each byte and
    /// each gap. Returns the offset that was reached and the bytes that came.
    async fn follow(&self, attached: &mut Attached, mut next: u64, until: u64) -> (u64, u64) {
        let mut came = 0;
        while next < until {
            match attached.next().await.unwrap().expect("Exit comes last") {
                Frame::Output(output) => {
                    assert_eq!(output.offset, next, "output goes on where it stopped");
                    assert!(self.has(next, &output.data), "the bytes at {next} are others");
                    next += output.data.len() as u64;
                    came += output.data.len() as u64;
                }
                Frame::Lagged(gap) => {
                    assert!(gap.from == next && gap.to > gap.from && gap.to <= self.total(), "{gap:?} at {next}");
                    next = gap.to;
                }
                Frame::Exit(exit) => panic!("{exit:?} at {next}"),
                _ => {}
            }
        }
        (next, came)
    }

    /// The end of an attachment that has every byte.
    async fn end(&self, attached: &mut Attached) {
        let (bytes, gaps, exit) = attached.rest(self.total()).await;
        assert_eq!((bytes.len(), gaps.len(), exit.final_offset), (0, 0, self.total()));
        let status = exit.status.unwrap();
        assert_eq!((status.cause(), status.code), (Cause::Exited, Some(0)));
    }
}

fn seed() -> u64 {
    let seed = std::env::var("REMORA_TEST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(rand::random);
    eprintln!("REMORA_TEST_SEED={seed}");
    seed
}

fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// One attachment at a random place, left after a random number of bytes.
async fn cycle(
    client: &mut Client,
    id: &str,
    truth: &Truth,
    random: &mut StdRng,
    known: &mut StreamRange,
    promised: u64,
) {
    let asked = match random.random_range(0..4) {
        0 => random.random_range(0..=known.head),
        1 => known.head,
        _ => random.random_range(known.base..=known.head),
    };
    let tail = random.random_range(0..=u64::from(RING) + 1_000);
    let credit = random.random_range(1..=200_000);
    let from = if random.random_ratio(1, 5) { From::Tail(tail) } else { From::FromOffset(asked) };
    let start = AttachStart { credit_bytes: credit, ..viewer(id, from) };
    let (mut attached, state) = attach(client, start).await.unwrap();
    let held = state.output.unwrap();
    assert_eq!(held.head - held.base, held.head.min(RING.into()), "the newest bytes, as many as the ring takes");
    assert!(held.head >= known.head && held.head <= promised, "{held:?} after {known:?}");
    *known = held;
    let next = match from {
        From::FromOffset(_) if asked < held.base => {
            let gap = state.gap.expect("what is gone is said");
            assert_eq!((gap.from, gap.to), (asked, held.base));
            held.base
        }
        From::FromOffset(_) => {
            assert_eq!(state.gap, None);
            asked
        }
        _ => held.head.saturating_sub(tail).max(held.base),
    };
    let until = promised.min(next + credit);
    let (reached, came) = truth.follow(&mut attached, next, until).await;
    assert!(came <= credit, "{came} bytes of {credit}");
    if reached == truth.total() && came < credit {
        truth.end(&mut attached).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a043_a_thousand_attachments_to_100_mb_show_the_bytes_or_say_the_gap() {
    const PARTS: usize = 25;
    const PART_CYCLES: usize = 34;
    const CYCLES: usize = 1_000;
    const AFTER_THE_END: usize = 150;
    let seed = seed();
    let mut random = StdRng::seed_from_u64(seed);
    let pod = Pod::start().await;
    let truth = Truth::new(&pod, seed, PARTS, 4_000_000);
    let id = open(&pod, &truth.script("while [ ! -e go-$n ]; do sleep 0.01; done"), RING).await.id;
    let mut client = pod.terminals().await;
    let processes = [pod.agent.pid(), pod.shims[0].pid()];
    let before = processes.map(descriptors);

    let mut known = StreamRange { base: 0, head: 0 };
    for number in 0..CYCLES {
        let opened = (number / PART_CYCLES).min(PARTS - 1);
        std::fs::write(pod.workspace.join(format!("go-{opened}")), "").unwrap();
        let promised = ((opened + 1) * truth.part) as u64;
        if number == CYCLES - AFTER_THE_END {
            let (mut attached, state) = attach(&mut client, viewer(&id, From::Live(true))).await.unwrap();
            truth.follow(&mut attached, state.output.unwrap().head, truth.total()).await;
            truth.end(&mut attached).await;
        }
        if number % 100 == 99 {
            // A connection that is lost with all that is on its way.
            let mut other = pod.terminals().await;
            cycle(&mut other, &id, &truth, &mut random, &mut known, promised).await;
        } else {
            cycle(&mut client, &id, &truth, &mut random, &mut known, promised).await;
        }
    }

    let (mut attached, state) = attach(&mut client, viewer(&id, From::FromOffset(0))).await.unwrap();
    let gap = state.gap.unwrap();
    assert_eq!((gap.from, gap.to), (0, truth.total() - u64::from(RING)));
    let (_, came) = truth.follow(&mut attached, gap.to, truth.total()).await;
    assert_eq!(came, u64::from(RING), "nothing that is held is left out");
    truth.end(&mut attached).await;
    drop(attached);

    let request = GetTerminalRequest { id, ..GetTerminalRequest::default() };
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while client.get(request.clone()).await.unwrap().into_inner().viewers > 0 {
        assert!(tokio::time::Instant::now() < deadline, "whoever left is no viewer");
    }
    drop(client);
    // The lost connections are closed, and nothing else was left open.
    eventually(|| (processes.map(descriptors).iter().zip(before).all(|(now, then)| *now <= then)).then_some(())).await;
}

/// The program prints the next part when the reader has the last one, so that a
/// gap of the reader's could only come from the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a042_viewers_that_stop_reading_take_no_byte_from_another() {
    const PARTS: usize = 12;
    let pod = Pod::start().await;
    let truth = Truth::new(&pod, seed(), PARTS, 8 << 20);
    let id = open(&pod, &truth.script("head -c 1 > /dev/null"), RING).await.id;
    let mut client = pod.terminals().await;
    let (mut reader, _) = attach(&mut client, writer(&id, "reader", From::FromOffset(0))).await.unwrap();
    // On the reader's connection and on another one, with all credit and without.
    let mut stalled = Vec::new();
    for lag_policy in [attach_start::LagPolicy::Backpressure, attach_start::LagPolicy::Drop] {
        for credit_bytes in [u64::MAX / 2, 1] {
            let start = AttachStart { lag_policy: lag_policy.into(), credit_bytes, ..viewer(&id, From::FromOffset(0)) };
            stalled.push((attach(&mut client, start.clone()).await.unwrap().0, credit_bytes));
            stalled.push((attach(&mut pod.terminals().await, start).await.unwrap().0, credit_bytes));
        }
    }

    for part in 0..PARTS {
        let sequence = part as u64 + 1;
        reader.input(sequence, b"\n").await;
        let until = ((part + 1) * truth.part) as u64;
        let (reached, came) = truth.follow(&mut reader, (part * truth.part) as u64, until).await;
        assert_eq!((reached, came), (until, truth.part as u64), "every byte, without a gap");
    }
    truth.end(&mut reader).await;

    // They read on where they stopped, and what they missed is said.
    for (mut one, credit_bytes) in stalled {
        if credit_bytes == 1 {
            let credit = remora_proto::agent::v1::Credit { bytes: u64::MAX / 2 };
            one.send(remora_proto::agent::v1::terminal_input::Frame::Credit(credit)).await;
        }
        let (reached, came) = truth.follow(&mut one, 0, truth.total()).await;
        assert!(reached == truth.total() && came < truth.total(), "{came} bytes came");
        truth.end(&mut one).await;
    }
}

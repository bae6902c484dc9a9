//! How many threads do the asynchronous work of a process that serves.

use std::{io, num::NonZeroUsize, thread::available_parallelism};

use tokio::runtime::{Builder, Runtime};

/// One worker for so many CPUs. A byte of a stream goes through several tasks, and where two workers
/// share them, each is woken for what the other has begun: that costs a fifth of the bytes that two CPUs
/// move, and of the time to the echo of a key. And what serves shares its node with those it serves.
const CPUS_OF_A_WORKER: usize = 2;

/// A runtime for a process that serves. What blocks or computes is not done on its workers.
///
/// Fails where the system gives no threads.
pub fn runtime() -> io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(workers(available_parallelism().ok())).enable_all().build()
}

/// Workers for the CPUs that the process may use, which are bounded by its affinity and its cgroup.
fn workers(cpus: Option<NonZeroUsize>) -> usize {
    cpus.map_or(1, NonZeroUsize::get).div_ceil(CPUS_OF_A_WORKER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_cpus_have_one_worker_and_none_has_less() {
        let of = |cpus| workers(NonZeroUsize::new(cpus));
        assert_eq!([0, 1, 2, 3, 4, 64].map(of), [1, 1, 1, 2, 2, 32]);
    }
}

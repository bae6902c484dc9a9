//! Who is connected to the ports of the containers, as the kernel's tables say. Loopback
//! is left out: within a pod that is the project itself.

use std::{
    collections::{HashMap, HashSet},
    io::Read as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use remora_agent_term::Moment;
use tokio::time::{MissedTickBehavior, interval};

use crate::limits::{MAX_CONNECTION_TABLE_BYTES, MAX_VISITORS, VISITOR_LOOK};

/// The tables of the network that this process is in.
const TABLES: [&str; 2] = ["/proc/self/net/tcp", "/proc/self/net/tcp6"];
/// The word for an established connection in them.
const ESTABLISHED: &str = "01";

/// A connection: the port here, and the other end.
type Connection = (u16, SocketAddr);

/// Who was there when. Cloning shares it.
#[derive(Clone, Default)]
pub(crate) struct Visitors(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    before: HashSet<Connection>,
    by_address: HashMap<IpAddr, Moment>,
}

impl Visitors {
    /// Looks at connections to `ports` from time to time.
    pub(crate) async fn watch(self, ports: Vec<u16>) {
        if ports.is_empty() {
            return;
        }
        let mut looks = interval(VISITOR_LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            let tables = tokio::task::spawn_blocking(|| TABLES.map(read)).await.unwrap_or_default();
            let now = tables.iter().flat_map(|table| connections(table)).filter(|(port, _)| ports.contains(port));
            self.take(now.collect());
        }
    }

    /// Takes what a look saw. A connection that the look before saw as well is a visit.
    fn take(&self, now: HashSet<Connection>) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, from) in now.intersection(&seen.before).copied().collect::<Vec<_>>() {
            seen.by_address.insert(from.ip(), Moment::now());
        }
        seen.before = now;
        while seen.by_address.len() > MAX_VISITORS {
            let oldest = seen.by_address.iter().min_by_key(|(_, moment)| **moment).map(|(address, _)| *address);
            oldest.map(|address| seen.by_address.remove(&address));
        }
    }

    /// Everybody who was there, and when last, by address.
    pub(crate) fn all(&self) -> Vec<(IpAddr, Moment)> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = seen.by_address.iter().map(|(address, moment)| (*address, *moment)).collect();
        all.sort_by_key(|(address, _)| *address);
        all
    }
}

/// A table, or nothing where there is none.
fn read(path: &str) -> String {
    let mut text = String::new();
    let file = std::fs::File::open(path);
    let _ = file.and_then(|file| file.take(MAX_CONNECTION_TABLE_BYTES).read_to_string(&mut text));
    text
}

/// The established connections of a table, see proc_net_tcp in the kernel's documentation.
fn connections(table: &str) -> impl Iterator<Item = Connection> {
    table.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (local, remote, state) = (address(fields.next()?)?, address(fields.next()?)?, fields.next()?);
        (state == ESTABLISHED && !remote.ip().is_loopback()).then_some((local.port(), remote))
    })
}

/// Parses `0100007F:1F90`: an address in words of 32 bits as the machine has them, and a port.
fn address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| {
        let word = address.get(at * 8..at * 8 + 8)?;
        u32::from_str_radix(word, 16).ok().map(u32::to_ne_bytes)
    };
    let ip = match address.len() {
        8 => IpAddr::from(Ipv4Addr::from(word(0)?)),
        32 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?];
            let bytes: [u8; 16] = words.as_flattened().try_into().ok()?;
            Ipv6Addr::from(bytes).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:1435 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 1 1 0 100 0 0 10 0
   1: 0500000A:1435 0709000A:D431 01 00000000:00000000 00:00000000 00000000  1000        0 2 1 0 20 4 30 10 -1
   2: 0100007F:1435 0100007F:D432 01 00000000:00000000 00:00000000 00000000  1000        0 3 1 0 20 4 30 10 -1
   3: 0500000A:1435 0809000A:D433 06 00000000:00000000 03:00000000 00000000     0        0 0 3 0
";
    const V6: &str = "  sl  local_address                         remote_address                        st
   0: 0000000000000000FFFF00000500000A:1436 0000000000000000FFFF00000709000A:D431 01 0 0 0
   1: B80D0120000000000000000001000000:1436 B80D0120000000000000000002000000:D431 01 0 0 0
   2: 00000000000000000000000001000000:1436 00000000000000000000000001000000:D431 01 0 0 0
   3: broken
";

    #[test]
    fn tables_of_the_kernel_are_read() {
        let seen: Vec<_> = connections(V4).collect();
        assert_eq!(seen, [(0x1435, "10.0.9.7:54321".parse().unwrap())]);
        let seen: Vec<_> = connections(V6).collect();
        assert_eq!(
            seen,
            [(0x1436, "10.0.9.7:54321".parse().unwrap()), (0x1436, "[2001:db8::2]:54321".parse().unwrap())]
        );
        assert_eq!(connections("").count(), 0);
    }

    #[test]
    fn a_visit_is_what_two_looks_see() {
        let visitors = Visitors::default();
        let from = |text: &str| (5_173_u16, text.parse::<SocketAddr>().unwrap());
        visitors.take([from("10.0.9.7:1"), from("10.0.9.8:1")].into());
        assert_eq!(visitors.all(), [], "a probe would be there too");
        // The probe of the next look is another connection from the same address.
        visitors.take([from("10.0.9.7:1"), from("10.0.9.8:2")].into());
        let first = visitors.all();
        assert_eq!(first.len(), 1);
        assert_eq!(first[0].0, "10.0.9.7".parse::<IpAddr>().unwrap());
        visitors.take([from("10.0.9.7:1")].into());
        assert!(visitors.all()[0].1 > first[0].1, "it goes on");
        let last = visitors.all();
        visitors.take(HashSet::new());
        assert_eq!(visitors.all(), last, "when it ended is remembered");
    }

    #[test]
    fn those_who_were_there_last_are_remembered() {
        let visitors = Visitors::default();
        for number in 0..=u8::try_from(MAX_VISITORS).unwrap() {
            let one = HashSet::from([(80, SocketAddr::from(([10, 0, 0, number], 1)))]);
            visitors.take(one.clone());
            visitors.take(one);
        }
        let all = visitors.all();
        assert_eq!(all.len(), MAX_VISITORS);
        assert_eq!(all[0].0, "10.0.0.1".parse::<IpAddr>().unwrap(), "the oldest is gone");
    }

    /// The table that this kernel has is one that is understood.
    #[tokio::test]
    async fn a_connection_of_this_machine_is_in_its_table() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let _server = listener.accept().await.unwrap();
        let (local, remote) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
        let there = read(TABLES[0]).lines().skip(1).any(|line| {
            let mut fields = line.split_ascii_whitespace().skip(1);
            let ends = [fields.next(), fields.next()].map(|field| field.and_then(address));
            ends == [Some(local), Some(remote)] && fields.next() == Some(ESTABLISHED)
        });
        assert!(there, "{local} to {remote} is not in the table");
    }
}

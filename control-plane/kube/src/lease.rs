//! Which replica acts: a Lease (coordination.k8s.io). It spares work and decides
//! nothing: two that lead for a moment are held apart by generations and versions.

use std::time::{Duration, Instant};

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};
use kube::{Api, Client, ResourceExt as _, api::PostParams};
use remora_proto_model::Fault;
use tokio::sync::watch;
use tracing::warn;

use crate::{
    api::{failed, is},
    limits::{LEASE, LEASE_RENEWAL},
};

/// What a replica does about the Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Move {
    /// It is ours, or free: write it.
    Take,
    /// It is another's.
    Leave,
}

/// What is to be done about a Lease that `holder` has and that did not change for
/// `unchanged`, measured here: clocks of two machines are never compared.
fn decide(holder: Option<&str>, own: &str, unchanged: Duration) -> Move {
    match holder {
        Some(other) if !other.is_empty() && other != own && unchanged < LEASE => Move::Leave,
        _ => Move::Take,
    }
}

/// Takes part in the choice of who leads, until this is dropped. `leads` is told
/// the outcome at each change; who cannot renew says so before others may take over.
pub async fn campaign(client: Client, namespace: &str, name: &str, own: &str, leads: &watch::Sender<bool>) {
    let api: Api<Lease> = Api::namespaced(client, namespace);
    let mut seen: Option<(String, Instant)> = None;
    let mut renewed: Option<Instant> = None;
    loop {
        match round(&api, name, own, &mut seen).await {
            Ok(true) => {
                renewed = Some(Instant::now());
                leads.send_if_modified(|now| !std::mem::replace(now, true));
            }
            Ok(false) => {
                renewed = None;
                leads.send_if_modified(|now| std::mem::replace(now, false));
            }
            Err(fault) => {
                warn!(%fault, "the Lease cannot be renewed");
                // Well before another may take it, which is after the whole of it.
                if renewed.is_none_or(|at| at.elapsed() > LEASE - LEASE_RENEWAL) {
                    leads.send_if_modified(|now| std::mem::replace(now, false));
                }
            }
        }
        tokio::time::sleep(LEASE_RENEWAL).await;
    }
}

/// Lets go of a Lease that is ours, so that the next one need not wait for its end.
pub async fn release(client: Client, namespace: &str, name: &str, own: &str) -> Result<(), Fault> {
    let api: Api<Lease> = Api::namespaced(client, namespace);
    let what = format!("let go of Lease {name}");
    let Some(mut lease) = api.get_opt(name).await.map_err(|error| failed(&what, error))? else { return Ok(()) };
    match lease.spec.as_mut() {
        Some(spec) if spec.holder_identity.as_deref() == Some(own) => spec.holder_identity = None,
        _ => return Ok(()),
    }
    match api.replace(name, &PostParams::default(), &lease).await {
        Err(error) if !is(&error, 409) => Err(failed(&what, error)),
        _ => Ok(()),
    }
}

/// One look at the Lease, and one move; whether we lead after it.
async fn round(api: &Api<Lease>, name: &str, own: &str, seen: &mut Option<(String, Instant)>) -> Result<bool, Fault> {
    let what = format!("hold Lease {name}");
    let found = api.get_opt(name).await.map_err(|error| failed(&what, error))?;
    let Some(mut lease) = found else {
        let mut lease = Lease::default();
        lease.metadata.name = Some(name.to_owned());
        lease.spec = Some(held(own, None));
        return written(api.create(&PostParams::default(), &lease).await, &what);
    };
    let version = lease.resource_version().unwrap_or_default();
    let since = match seen {
        Some((known, since)) if *known == version => *since,
        _ => seen.insert((version, Instant::now())).1,
    };
    let spec = lease.spec.as_ref();
    match decide(spec.and_then(|spec| spec.holder_identity.as_deref()), own, since.elapsed()) {
        Move::Leave => Ok(false),
        Move::Take => {
            lease.spec = Some(held(own, spec));
            written(api.replace(name, &PostParams::default(), &lease).await, &what)
        }
    }
}

/// Of two that write at once one wins, by the resource version.
fn written(outcome: Result<Lease, kube::Error>, what: &str) -> Result<bool, Fault> {
    match outcome {
        Ok(_) => Ok(true),
        Err(error) if is(&error, 409) => Ok(false),
        Err(error) => Err(failed(what, error)),
    }
}

fn held(own: &str, before: Option<&LeaseSpec>) -> LeaseSpec {
    let now = MicroTime(Timestamp::now());
    let ours = before.filter(|spec| spec.holder_identity.as_deref() == Some(own));
    let transitions = before.and_then(|spec| spec.lease_transitions).unwrap_or_default();
    LeaseSpec {
        holder_identity: Some(own.to_owned()),
        lease_duration_seconds: i32::try_from(LEASE.as_secs()).ok(),
        acquire_time: ours.and_then(|spec| spec.acquire_time.clone()).or_else(|| Some(now.clone())),
        renew_time: Some(now),
        lease_transitions: Some(if ours.is_some() || before.is_none() { transitions } else { transitions + 1 }),
        ..LeaseSpec::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_is_left_alone_until_it_is_silent_for_the_whole_lease() {
        assert_eq!(decide(None, "a", Duration::ZERO), Move::Take);
        assert_eq!(decide(Some(""), "a", Duration::ZERO), Move::Take);
        assert_eq!(decide(Some("a"), "a", Duration::ZERO), Move::Take);
        assert_eq!(decide(Some("b"), "a", LEASE - Duration::from_millis(1)), Move::Leave);
        assert_eq!(decide(Some("b"), "a", LEASE), Move::Take);
    }

    #[test]
    fn a_change_of_holder_is_counted() {
        let first = held("a", None);
        assert_eq!((first.lease_transitions, first.acquire_time.is_some()), (Some(0), true));
        let again = held("a", Some(&first));
        assert_eq!((again.lease_transitions, &again.acquire_time), (Some(0), &first.acquire_time));
        assert_eq!(held("b", Some(&again)).lease_transitions, Some(1));
    }
}

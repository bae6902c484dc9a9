//! What a container is given of a machine, and a project of a cluster.

use serde::{Deserialize, Serialize};

use super::quantity::{self, Counted, Quantity};
use crate::Fault;

/// Most pods that a quota may allow: what a project can need twice over.
pub const MAX_QUOTA_PODS: u32 = 100;

/// Amounts of a machine; what is absent is not said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Amounts {
    /// Processors, for example `500m`.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Quantity>,
    /// Bytes of memory, for example `1Gi`.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Quantity>,
    /// Bytes on the node's own disk, for example `10Gi`.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ephemeral_storage: Option<Quantity>,
}

impl Amounts {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Amounts::default()
    }

    fn named(&self) -> [(&'static str, Option<&Quantity>, Counted); 3] {
        [
            ("cpu", self.cpu.as_ref(), Counted::Cpu),
            ("memory", self.memory.as_ref(), Counted::Bytes),
            ("ephemeralStorage", self.ephemeral_storage.as_ref(), Counted::Bytes),
        ]
    }
}

/// What a container is promised, and what it may not exceed. A local server
/// accepts it and gives what its machine has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Resources {
    /// What it is promised.
    #[serde(skip_serializing_if = "Amounts::is_empty")]
    pub requests: Amounts,
    /// What it may not exceed.
    #[serde(skip_serializing_if = "Amounts::is_empty")]
    pub limits: Amounts,
}

impl Resources {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Resources::default()
    }

    pub(super) fn validate(&self) -> Result<(), Fault> {
        for (part, amounts) in [("requests", &self.requests), ("limits", &self.limits)] {
            for (name, amount, counted) in amounts.named() {
                if let Some(amount) = amount {
                    quantity::validate(&format!("containers.resources.{part}.{name}"), amount, counted)?;
                }
            }
        }
        for ((name, request, _), (_, limit, _)) in self.requests.named().into_iter().zip(self.limits.named()) {
            if let (Some(request), Some(limit)) = (request, limit)
                && request > limit
            {
                return Err(Fault::invalid(
                    &format!("containers.resources.requests.{name}"),
                    format!("{request} is more than the limit of {limit}"),
                )
                .hint("request at most the limit"));
            }
        }
        Ok(())
    }
}

/// What all of a project may use of a cluster; what is absent is not bounded.
/// A local server accepts it and bounds nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Quota {
    /// Processors that all its containers request.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Quantity>,
    /// The memory limits of all its containers.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Quantity>,
    /// Pods at a time, 2 to 100: a pod that ends still counts while the next one starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pods: Option<u32>,
    /// Bytes of all its volumes.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage: Option<Quantity>,
}

impl Quota {
    /// Checks the bounds. The error names the field.
    pub fn validate(&self) -> Result<(), Fault> {
        for (name, amount, counted) in [
            ("quota.cpu", &self.cpu, Counted::Cpu),
            ("quota.memory", &self.memory, Counted::Bytes),
            ("quota.storage", &self.storage, Counted::Bytes),
        ] {
            if let Some(amount) = amount {
                quantity::validate(name, amount, counted)?;
            }
        }
        match self.pods {
            Some(pods) if !(2..=MAX_QUOTA_PODS).contains(&pods) => {
                Err(Fault::invalid("quota.pods", format!("is {pods}; from 2 to {MAX_QUOTA_PODS}")))
            }
            _ => Ok(()),
        }
    }
}

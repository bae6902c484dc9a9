//! The lineage's header: what it is, and its data key, wrapped by the operator's.

use prost::Message as _;
use ring::rand::{SecureRandom as _, SystemRandom};

use super::{
    Crypt,
    block::{read_checked, write_checked},
    crypt::Sealed,
};
use crate::{SnapshotError, limits::MAX_LINEAGE_RAW};

/// The key of the header.
pub const LINEAGE_KEY: &str = "lineage";

const MAGIC: &[u8; 8] = b"REMORALN";

/// Context of BLAKE3's derivation of the wrapping key. Part of the format.
const WRAP_CONTEXT: &str = "remora snapshot 1: wrapping of data keys";

/// The object at [`LINEAGE_KEY`]. It is written once, before anything else.
#[derive(Clone, PartialEq, Eq)]
pub struct LineageHeader {
    /// Drawn when the lineage began.
    pub id: [u8; 16],
    /// The sealed data key; `None` where nothing is encrypted.
    pub wrapped_key: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Wire {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(bytes = "vec", optional, tag = "2")]
    wrapped_key: Option<Vec<u8>>,
}

impl LineageHeader {
    /// A new lineage; with `operator_key` an encrypted one.
    pub fn new(operator_key: Option<&[u8; 32]>) -> Result<Self, SnapshotError> {
        let random = SystemRandom::new();
        let (mut id, mut data_key) = ([0; 16], [0; 32]);
        random
            .fill(&mut id)
            .and_then(|()| random.fill(&mut data_key))
            .map_err(|_| SnapshotError::Defect { what: "the system's random generator refused" })?;
        let wrapped_key = match operator_key {
            Some(key) => Some(wrapper(key).seal(Sealed::DataKey, &id, data_key.to_vec())?),
            None => None,
        };
        Ok(LineageHeader { id, wrapped_key })
    }

    /// What is needed to read and write this lineage, for a holder of `operator_key`.
    pub fn open(&self, operator_key: Option<&[u8; 32]>) -> Result<Crypt, SnapshotError> {
        match (&self.wrapped_key, operator_key) {
            (None, None) => Ok(Crypt::plain()),
            (None, Some(_)) => Err(SnapshotError::KeyWrong {
                problem: "a key was supplied, and this lineage was begun without encryption",
            }),
            (Some(_), None) => Err(SnapshotError::KeyMissing),
            (Some(wrapped), Some(key)) => wrapper(key)
                .open(Sealed::DataKey, &self.id, wrapped.clone())
                .and_then(|data_key| <[u8; 32]>::try_from(data_key).ok())
                .map(|data_key| Crypt::encrypted(&data_key))
                .ok_or(SnapshotError::KeyWrong { problem: "the supplied key does not open this lineage" }),
        }
    }

    /// The stored object.
    pub fn encode(&self) -> Result<Vec<u8>, SnapshotError> {
        let wire = Wire { id: self.id.to_vec(), wrapped_key: self.wrapped_key.clone() };
        write_checked(MAGIC, &Crypt::plain(), Sealed::Root, b"", &wire.encode_to_vec())
    }

    /// Reads the stored object.
    pub fn decode(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let damaged = || SnapshotError::damaged(LINEAGE_KEY, "it is no header of a lineage");
        let raw = read_checked(LINEAGE_KEY, bytes, MAGIC, &Crypt::plain(), Sealed::Root, b"", MAX_LINEAGE_RAW)?;
        let wire = Wire::decode(raw.as_slice()).map_err(|_| damaged())?;
        Ok(LineageHeader { id: wire.id.try_into().map_err(|_| damaged())?, wrapped_key: wire.wrapped_key })
    }
}

fn wrapper(operator_key: &[u8; 32]) -> Crypt {
    Crypt::encrypted(&blake3::derive_key(WRAP_CONTEXT, operator_key))
}

#[cfg(test)]
mod tests {
    use remora_proto_model::Reason;

    use super::*;

    #[test]
    fn only_the_operators_key_opens_it() {
        let header = LineageHeader::new(Some(&[1; 32])).unwrap();
        let header = LineageHeader::decode(&header.encode().unwrap()).unwrap();
        let sealed = header.open(Some(&[1; 32])).unwrap().seal(Sealed::Frame, b"", b"x".to_vec()).unwrap();
        let again = header.open(Some(&[1; 32])).unwrap();
        assert_eq!(again.open(Sealed::Frame, b"", sealed), Some(b"x".to_vec()));
        assert_eq!(header.open(Some(&[2; 32])).unwrap_err().reason(), Reason::KeyWrong);
        assert_eq!(header.open(None).unwrap_err().reason(), Reason::KeyMissing);
        let plain = LineageHeader::new(None).unwrap();
        assert_eq!(plain.open(Some(&[1; 32])).unwrap_err().reason(), Reason::KeyWrong);
        assert!(!plain.open(None).unwrap().is_encrypted());
    }

    #[test]
    fn damage_is_not_taken_for_a_wrong_key() {
        let stored = LineageHeader::new(Some(&[1; 32])).unwrap().encode().unwrap();
        for bit in 0..stored.len() * 8 {
            let mut flipped = stored.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let reason = LineageHeader::decode(&flipped).map(drop).unwrap_err().reason();
            let expected = if bit / 8 == 8 { Reason::FormatUnsupported } else { Reason::SnapshotDamaged };
            assert_eq!(reason, expected, "bit {bit}");
        }
        for cut in 0..stored.len() {
            assert_eq!(LineageHeader::decode(&stored[..cut]).map(drop).unwrap_err().reason(), Reason::SnapshotDamaged);
        }
    }
}

//! [`Crypt`]: what is secret about a lineage, and the ids of its contents.
//!
//! Each message (a frame, an index, a section of a page, a body) is sealed with
//! AES-256-GCM under a key and nonce of its own, derived from the lineage's data
//! key and 32 bytes of salt that are stored in front of it. The salt is a keyed
//! hash of fresh randomness *and* of the message, so that even a generator that
//! repeats itself can pair a nonce only with the message it belonged to.

use std::{fmt, sync::Arc};

use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, Tag, UnboundKey},
    rand::{SecureRandom as _, SystemRandom},
};

use crate::SnapshotError;

/// Length of the salt before a sealed message, in bytes.
const SALT_BYTES: usize = 32;
/// Length of the tag after it, in bytes.
const TAG_BYTES: usize = 16;
/// What sealing adds to a message, in bytes.
pub(crate) const SEAL_BYTES: usize = SALT_BYTES + TAG_BYTES;

/// Contexts of BLAKE3's key derivation. Part of the format.
const SEAL_CONTEXT: &str = "remora snapshot 1: keys of sealed messages";
const SALT_CONTEXT: &str = "remora snapshot 1: salts of sealed messages";
const BLOB_CONTEXT: &str = "remora snapshot 1: ids of blobs";
const PAGE_CONTEXT: &str = "remora snapshot 1: ids of page contents";

/// What a message is. A sealed message of one kind does not open as another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sealed {
    Frame,
    PackIndex,
    PageRestore,
    PageDedup,
    Root,
    DataKey,
}

impl Sealed {
    const fn name(self) -> &'static [u8] {
        match self {
            Sealed::Frame => b"frame",
            Sealed::PackIndex => b"pack index",
            Sealed::PageRestore => b"page restore",
            Sealed::PageDedup => b"page dedup",
            Sealed::Root => b"root",
            Sealed::DataKey => b"data key",
        }
    }
}

/// The id of a blob: BLAKE3 of its bytes, keyed where the lineage is encrypted so
/// that nobody without the key can test whether a known file is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobId(pub [u8; 32]);

/// See the module. Cloning shares the keys.
#[derive(Clone)]
pub struct Crypt(Option<Arc<Keys>>);

struct Keys {
    seal: [u8; 32],
    salt: [u8; 32],
    blob: [u8; 32],
    page: [u8; 32],
    random: SystemRandom,
}

impl fmt::Debug for Crypt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_encrypted() { "Crypt(AES-256-GCM)" } else { "Crypt(plain)" })
    }
}

impl Crypt {
    /// Of a lineage that is not encrypted.
    pub fn plain() -> Self {
        Crypt(None)
    }

    /// Of a lineage with the data key `key`.
    pub fn encrypted(key: &[u8; 32]) -> Self {
        Crypt(Some(Arc::new(Keys {
            seal: blake3::derive_key(SEAL_CONTEXT, key),
            salt: blake3::derive_key(SALT_CONTEXT, key),
            blob: blake3::derive_key(BLOB_CONTEXT, key),
            page: blake3::derive_key(PAGE_CONTEXT, key),
            random: SystemRandom::new(),
        })))
    }

    /// Whether contents are sealed.
    pub fn is_encrypted(&self) -> bool {
        self.0.is_some()
    }

    /// The id of the blob with these bytes.
    pub fn blob_id(&self, bytes: &[u8]) -> BlobId {
        BlobId(match &self.0 {
            Some(keys) => *blake3::keyed_hash(&keys.blob, bytes).as_bytes(),
            None => *blake3::hash(bytes).as_bytes(),
        })
    }

    /// The id of what a page says, whatever its stored bytes.
    pub(crate) fn content_id(&self, parts: [&[u8]; 2]) -> [u8; 32] {
        let mut hasher = match &self.0 {
            Some(keys) => blake3::Hasher::new_keyed(&keys.page),
            None => blake3::Hasher::new(),
        };
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        *hasher.finalize().as_bytes()
    }

    /// `message` as it is stored: sealed, or as it is where nothing is encrypted.
    pub(crate) fn seal(&self, kind: Sealed, aad: &[u8], message: Vec<u8>) -> Result<Vec<u8>, SnapshotError> {
        let Some(keys) = &self.0 else { return Ok(message) };
        let mut fresh = [0; 32];
        let refused = || SnapshotError::Defect { what: "the system's random generator or the cipher refused" };
        keys.random.fill(&mut fresh).map_err(|_| refused())?;
        let salt = blake3::Hasher::new_keyed(&keys.salt).update(kind.name()).update(&fresh).update(&message).finalize();
        let mut stored = Vec::with_capacity(message.len() + SEAL_BYTES);
        stored.extend_from_slice(salt.as_bytes());
        stored.extend_from_slice(&message);
        let (key, nonce) = keys.message(kind, salt.as_bytes());
        let tag =
            key.seal_in_place_separate_tag(nonce, Aad::from(aad), &mut stored[SALT_BYTES..]).map_err(|_| refused())?;
        stored.extend_from_slice(tag.as_ref());
        Ok(stored)
    }

    /// The message that is stored as `stored`; `None` where it is not what a
    /// holder of the key has sealed as this kind with this context.
    pub(crate) fn open(&self, kind: Sealed, aad: &[u8], mut stored: Vec<u8>) -> Option<Vec<u8>> {
        let Some(keys) = &self.0 else { return Some(stored) };
        if stored.len() < SEAL_BYTES {
            return None;
        }
        let tag: [u8; TAG_BYTES] = stored.split_off(stored.len() - TAG_BYTES).try_into().ok()?;
        let salt: [u8; SALT_BYTES] = stored[..SALT_BYTES].try_into().ok()?;
        let (key, nonce) = keys.message(kind, &salt);
        let opened = key.open_in_place_separate_tag(nonce, Aad::from(aad), Tag::from(tag), &mut stored, SALT_BYTES..);
        let length = opened.ok()?.len();
        stored.truncate(length);
        Some(stored)
    }
}

impl Keys {
    fn message(&self, kind: Sealed, salt: &[u8; SALT_BYTES]) -> (LessSafeKey, Nonce) {
        let mut derived = [0; 32 + NONCE_LEN];
        blake3::Hasher::new_keyed(&self.seal).update(kind.name()).update(salt).finalize_xof().fill(&mut derived);
        let (key, nonce) = derived.split_at(32);
        let key = UnboundKey::new(&AES_256_GCM, key).expect("AES-256 takes 32 bytes");
        let nonce = Nonce::try_assume_unique_for_key(nonce).expect("a nonce has 12 bytes");
        (LessSafeKey::new(key), nonce)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_sealed_opens_only_as_it_was(
            message in prop::collection::vec(any::<u8>(), 0..300),
            aad in prop::collection::vec(any::<u8>(), 0..40),
            bit in any::<prop::sample::Index>(),
            cut in any::<prop::sample::Index>(),
        ) {
            let crypt = Crypt::encrypted(&[7; 32]);
            let stored = crypt.seal(Sealed::Frame, &aad, message.clone()).unwrap();
            prop_assert_eq!(stored.len(), message.len() + SEAL_BYTES);
            prop_assert_eq!(crypt.open(Sealed::Frame, &aad, stored.clone()), Some(message.clone()));
            prop_assert_eq!(crypt.open(Sealed::Root, &aad, stored.clone()), None);
            prop_assert_eq!(crypt.open(Sealed::Frame, b"another", stored.clone()), None);
            prop_assert_eq!(Crypt::encrypted(&[8; 32]).open(Sealed::Frame, &aad, stored.clone()), None);
            let mut flipped = stored.clone();
            let bit = bit.index(flipped.len() * 8);
            flipped[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(crypt.open(Sealed::Frame, &aad, flipped), None);
            prop_assert_eq!(crypt.open(Sealed::Frame, &aad, stored[..cut.index(stored.len())].to_vec()), None);
        }
    }

    #[test]
    fn no_two_messages_share_a_salt() {
        let crypt = Crypt::encrypted(&[7; 32]);
        let seal = || crypt.seal(Sealed::Frame, b"", b"the same".to_vec()).unwrap();
        assert_ne!(seal()[..SALT_BYTES], seal()[..SALT_BYTES]);
    }

    #[test]
    fn ids_need_the_key() {
        assert_eq!(Crypt::plain().blob_id(b"x").0, *blake3::hash(b"x").as_bytes());
        assert_ne!(Crypt::encrypted(&[7; 32]).blob_id(b"x"), Crypt::plain().blob_id(b"x"));
        assert_ne!(Crypt::encrypted(&[7; 32]).blob_id(b"x"), Crypt::encrypted(&[8; 32]).blob_id(b"x"));
        assert!(!format!("{:?}", Crypt::encrypted(&[7; 32])).contains('7'));
    }
}

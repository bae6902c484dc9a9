//! Where a page ended, as a word for the caller to bring back: the last path and
//! a mark of the question it belongs to.

use remora_proto_model::Reason;

use crate::FileError;

const MARK_BYTES: usize = 8;

/// A question whose answer has pages.
pub(crate) struct Question([u8; MARK_BYTES]);

impl Question {
    /// The question made of these parts.
    pub(crate) fn new<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
        let mut mark = [0; MARK_BYTES];
        mark.copy_from_slice(&hasher.finalize().as_bytes()[..MARK_BYTES]);
        Question(mark)
    }

    /// The word for a page that ended with `last`.
    pub(crate) fn token(&self, last: &[u8]) -> String {
        hex::encode([&self.0[..], last].concat())
    }

    /// The last path of the page that gave `token`; empty is the beginning.
    pub(crate) fn after(&self, token: &str) -> Result<Option<Vec<u8>>, FileError> {
        if token.is_empty() {
            return Ok(None);
        }
        match hex::decode(token) {
            Ok(bytes) if bytes.len() > MARK_BYTES && bytes[..MARK_BYTES] == self.0 => {
                Ok(Some(bytes[MARK_BYTES..].to_vec()))
            }
            _ => Err(FileError::refused(
                Reason::InvalidArgument,
                "page_token: is none that this same call gave",
                "send the token of the page before with everything else unchanged, or none to begin again",
            )),
        }
    }
}

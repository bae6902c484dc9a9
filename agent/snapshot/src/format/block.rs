//! What all objects are made of: a head that says what it is, and sections of
//! compressed, sealed bytes with their lengths in front.

use super::{
    Crypt, FORMAT_VERSION,
    crypt::{SEAL_BYTES, Sealed},
};
use crate::SnapshotError;

/// Whether and how an object is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cipher {
    /// Not at all.
    Plain,
    /// AES-256-GCM, see [`Crypt`].
    Aes256Gcm,
}

impl Cipher {
    pub(crate) fn of(crypt: &Crypt) -> Self {
        if crypt.is_encrypted() { Cipher::Aes256Gcm } else { Cipher::Plain }
    }

    pub(crate) const fn byte(self) -> u8 {
        match self {
            Cipher::Plain => 0,
            Cipher::Aes256Gcm => 1,
        }
    }
}

/// Length of the head, in bytes: magic, version, cipher, two zeros.
pub(crate) const HEAD_BYTES: usize = 12;

/// Length of the checksum at the end of a root and of the lineage's header.
const CHECKSUM_BYTES: usize = 32;

/// Level of everything that is not content: small, and read more than written.
const LEVEL: i32 = 3;

/// The bytes of an object while they are taken apart.
pub(crate) struct Reader<'a> {
    object: &'a str,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(object: &'a str, bytes: &'a [u8]) -> Self {
        Reader { object, rest: bytes }
    }

    pub(crate) fn damaged(&self, problem: &str) -> SnapshotError {
        SnapshotError::damaged(self.object, problem)
    }

    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], SnapshotError> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or_else(|| self.damaged("it ends early"))?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, SnapshotError> {
        let bytes = self.take(4)?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    pub(crate) fn end(&self) -> Result<(), SnapshotError> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.damaged("bytes follow after its end")) }
    }

    /// Takes the head and checks that it is one of `magic`, of a version that is known.
    pub(crate) fn head(&mut self, magic: &[u8; 8]) -> Result<Cipher, SnapshotError> {
        let head = self.take(HEAD_BYTES)?;
        if head[..8] != magic[..] {
            return Err(self.damaged("it does not begin as such an object does"));
        }
        if head[8] != FORMAT_VERSION {
            return Err(SnapshotError::Unsupported { object: self.object.to_owned(), version: head[8] });
        }
        if head[10..] != [0, 0] {
            return Err(self.damaged("its reserved bytes are not zero"));
        }
        match head[9] {
            0 => Ok(Cipher::Plain),
            1 => Ok(Cipher::Aes256Gcm),
            _ => Err(self.damaged("it names a cipher that does not exist")),
        }
    }

    /// Like [`Reader::head`]; the cipher must be the lineage's. Whoever can write
    /// to the store cannot make an encrypted lineage accept a plain object.
    pub(crate) fn head_of(&mut self, magic: &[u8; 8], crypt: &Crypt) -> Result<(), SnapshotError> {
        if self.head(magic)? == Cipher::of(crypt) {
            return Ok(());
        }
        Err(self.damaged(if crypt.is_encrypted() {
            "it is not sealed, in a lineage that is encrypted"
        } else {
            "it is sealed, in a lineage that is not encrypted"
        }))
    }

    /// Takes the two lengths before a section.
    pub(crate) fn lengths(&mut self, most_raw: usize) -> Result<Lengths, SnapshotError> {
        let (stored, raw) = (self.u32()? as usize, self.u32()? as usize);
        if raw > most_raw || stored > zstd::zstd_safe::compress_bound(most_raw) + SEAL_BYTES {
            return Err(self.damaged("a section is longer than any may be"));
        }
        Ok(Lengths { stored, raw })
    }

    pub(crate) fn section(
        &mut self,
        crypt: &Crypt,
        kind: Sealed,
        aad: &[u8],
        lengths: Lengths,
    ) -> Result<Vec<u8>, SnapshotError> {
        let stored = self.take(lengths.stored)?.to_vec();
        let packed = crypt.open(kind, aad, stored).ok_or_else(|| self.damaged("it does not open with the key"))?;
        unpack(&packed, lengths.raw).ok_or_else(|| self.damaged("a section does not unpack"))
    }
}

/// Lengths of a section: as stored and unpacked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lengths {
    pub(crate) stored: usize,
    pub(crate) raw: usize,
}

/// A section, ready to be stored.
pub(crate) struct Section {
    pub(crate) stored: Vec<u8>,
    raw: u32,
}

impl Section {
    pub(crate) fn new(crypt: &Crypt, kind: Sealed, aad: &[u8], raw: &[u8]) -> Result<Self, SnapshotError> {
        let packed =
            zstd::bulk::compress(raw, LEVEL).map_err(|_| SnapshotError::Defect { what: "zstd refused to compress" })?;
        let length = u32::try_from(raw.len()).map_err(|_| SnapshotError::Defect { what: "a section over 4 GiB" })?;
        Ok(Section { stored: crypt.seal(kind, aad, packed)?, raw: length })
    }

    pub(crate) fn write_lengths(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.stored.len() as u32).to_le_bytes());
        out.extend_from_slice(&self.raw.to_le_bytes());
    }
}

pub(crate) fn write_head(out: &mut Vec<u8>, magic: &[u8; 8], cipher: Cipher) {
    out.extend_from_slice(magic);
    out.extend_from_slice(&[FORMAT_VERSION, cipher.byte(), 0, 0]);
}

/// Unpacks one zstd frame of exactly `raw` bytes.
pub(crate) fn unpack(packed: &[u8], raw: usize) -> Option<Vec<u8>> {
    // The frame's own word first: nothing is allocated for one that says otherwise.
    if zstd::zstd_safe::get_frame_content_size(packed).ok()? != Some(raw as u64) {
        return None;
    }
    if zstd::zstd_safe::find_frame_compressed_size(packed).ok()? != packed.len() {
        return None;
    }
    let unpacked = zstd::bulk::decompress(packed, raw).ok()?;
    (unpacked.len() == raw).then_some(unpacked)
}

/// An object of one section and a checksum: nothing refers to it by its hash, so
/// it brings its own.
pub(crate) fn write_checked(
    magic: &[u8; 8],
    crypt: &Crypt,
    kind: Sealed,
    aad: &[u8],
    raw: &[u8],
) -> Result<Vec<u8>, SnapshotError> {
    let section = Section::new(crypt, kind, aad, raw)?;
    let mut out = Vec::with_capacity(HEAD_BYTES + 8 + section.stored.len() + CHECKSUM_BYTES);
    write_head(&mut out, magic, Cipher::of(crypt));
    section.write_lengths(&mut out);
    out.extend_from_slice(&section.stored);
    let checksum = blake3::hash(&out);
    out.extend_from_slice(checksum.as_bytes());
    Ok(out)
}

/// The section of an object that [`write_checked`] wrote.
pub(crate) fn read_checked(
    object: &str,
    bytes: &[u8],
    magic: &[u8; 8],
    crypt: &Crypt,
    kind: Sealed,
    aad: &[u8],
    most_raw: usize,
) -> Result<Vec<u8>, SnapshotError> {
    let mut reader = Reader::new(object, bytes);
    reader.head_of(magic, crypt)?;
    let lengths = reader.lengths(most_raw)?;
    let body = bytes.len().saturating_sub(CHECKSUM_BYTES);
    if blake3::hash(&bytes[..body]).as_bytes() != &bytes[body..] {
        return Err(reader.damaged("its checksum does not match"));
    }
    let raw = reader.section(crypt, kind, aad, lengths)?;
    reader.take(CHECKSUM_BYTES)?;
    reader.end()?;
    Ok(raw)
}

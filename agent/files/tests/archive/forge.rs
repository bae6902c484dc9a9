//! Archives that no honest packer makes.

/// A tar under construction, of raw headers.
#[derive(Default)]
pub(crate) struct Forge(pub(crate) Vec<u8>);

impl Forge {
    pub(crate) fn raw(mut self, kind: u8, name: &[u8], link: &[u8], size: u64, content: &[u8]) -> Self {
        let mut header = tar::Header::new_ustar();
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link);
        header.set_entry_type(tar::EntryType::new(kind));
        header.set_mode(0o644);
        header.set_mtime(1);
        header.set_size(size);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn file(self, name: &str, content: &str) -> Self {
        self.raw(b'0', name.as_bytes(), b"", content.len() as u64, content.as_bytes())
    }

    pub(crate) fn link(self, kind: u8, name: &str, target: &str) -> Self {
        self.raw(kind, name.as_bytes(), target.as_bytes(), 0, b"")
    }

    pub(crate) fn pax(self, records: &[(&str, &str)]) -> Self {
        let mut body = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let length = (rest..).find(|length| rest + length.to_string().len() == *length).unwrap();
            body.extend_from_slice(format!("{length} {key}={value}\n").as_bytes());
        }
        self.raw(b'x', b"PaxHeader", b"", body.len() as u64, &body)
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1_024]);
        self.0
    }
}

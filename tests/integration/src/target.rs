//! The server under test.

/// See the module.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its address.
    pub server: String,
    /// A key with every right.
    pub key: String,
    /// The image of dev containers, where the server runs them on a cluster. `kubectl` on
    /// PATH reaches that cluster then.
    pub image: Option<String>,
    /// The namespace of the server there.
    pub namespace: String,
}

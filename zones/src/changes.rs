//! What one name became since the base of its version: a whole node, or nothing.

use std::sync::Arc;

use crate::tree::{Keyed, Tree};

/// The names changed since the base.
pub(crate) type Changes = Tree<Change>;

/// One changed name: size of the key, key, node bytes (none: the name is gone), in one allocation.
#[derive(Clone)]
pub(crate) struct Change(Arc<[u8]>);

impl Change {
    /// The name with this key has this node.
    pub(crate) fn new(key: &[u8], node: Option<&[u8]>) -> Self {
        let node = node.unwrap_or_default();
        let mut bytes = Vec::with_capacity(2 + key.len() + node.len());
        bytes.extend_from_slice(&(key.len() as u16).to_be_bytes());
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(node);
        Self(bytes.into())
    }

    /// The node bytes; none if the name is gone.
    pub(crate) fn node(&self) -> Option<&[u8]> {
        let node = &self.0[2 + self.key_size()..];
        (!node.is_empty()).then_some(node)
    }

    fn key_size(&self) -> usize {
        usize::from(u16::from_be_bytes([self.0[0], self.0[1]]))
    }
}

impl Keyed for Change {
    fn key(&self) -> &[u8] {
        &self.0[2..2 + self.key_size()]
    }
}

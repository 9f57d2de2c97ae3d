//! The same entries at every peer, in the same order.
//!
//! This crate knows nothing of DNS: the body of an entry is bytes to it, membership apart.

//! The daemon: DNS listeners around one answer engine, updates, admin, and the peer that ties
//! zones, replication and overlay together.

//! The settings of connections: those of TCP, of TLS and HTTPS, and of QUIC.

use crate::setting::{Connections, IdleTimeout, Setting, number, one};
use serde::Deserialize;
use std::time::Duration;

/// What an operator says of connections; where he is silent, the listeners have limits of their own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TcpSetup {
    /// How many there may be.
    pub connections: Option<usize>,
    /// How many from one address, or from one /64 of IPv6.
    pub connections_per_address: Option<usize>,
    /// For how long one may be idle.
    pub timeout_idle: Option<Duration>,
}

/// The settings of `[tcp]`.
#[derive(Clone, PartialEq, Eq, Debug, Default, clap::Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct TcpSettings {
    /// How many connections there may be, over TCP, TLS, HTTPS and QUIC together [default: 1000]
    #[arg(id = "tcp-connections", long = "tcp-connections", value_name = "N", value_parser = <Connections as Setting>::read)]
    #[serde(deserialize_with = "number")]
    connections: Option<Connections>,
    /// How many of them from one address, or from one /64 of IPv6 [default: 200]
    #[arg(id = "tcp-connections-per-address", long = "tcp-connections-per-address", value_name = "N", value_parser = <Connections as Setting>::read)]
    #[serde(deserialize_with = "number")]
    connections_per_address: Option<Connections>,
    /// Close a connection on which nothing is asked for so long [default: 10s]
    #[arg(id = "tcp-idle-timeout", long = "tcp-idle-timeout", value_name = "TIME", value_parser = <IdleTimeout as Setting>::read)]
    #[serde(deserialize_with = "one")]
    idle_timeout: Option<IdleTimeout>,
}

impl TcpSettings {
    /// These settings; where they are silent, those of `file`.
    pub(super) fn over(&self, file: &Self) -> Self {
        Self {
            connections: self.connections.or(file.connections),
            connections_per_address: self
                .connections_per_address
                .or(file.connections_per_address),
            idle_timeout: self.idle_timeout.or(file.idle_timeout),
        }
    }

    pub(super) fn setup(&self) -> TcpSetup {
        TcpSetup {
            connections: self.connections.map(|Connections(count)| count),
            connections_per_address: self.connections_per_address.map(|Connections(count)| count),
            timeout_idle: self.idle_timeout.map(|IdleTimeout(time)| time),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ServeConfig, Settings};

    #[test]
    fn flags_win_and_what_is_not_said_is_left_open() {
        let check = |flags: &str, file: &str, expected: TcpSetup| {
            let [flags, file] = [flags, file].map(|text| Settings::from_toml(text).unwrap());
            let config = ServeConfig::new(&flags, &file).unwrap();
            assert_eq!(config.tcp, expected);
        };
        check("", "", TcpSetup::default());
        let file = "[tcp]\nconnections = 5000\nidle-timeout = '1m'";
        let setup = TcpSetup {
            connections: Some(5_000),
            connections_per_address: None,
            timeout_idle: Some(Duration::from_secs(60)),
        };
        check("", file, setup);
        let flags = "[tcp]\nconnections = 7\nconnections-per-address = 5";
        let setup = TcpSetup {
            connections: Some(7),
            connections_per_address: Some(5),
            ..setup
        };
        check(flags, file, setup);
    }

    #[test]
    fn what_is_no_limit_is_refused() {
        for file in [
            "connections = 0",
            "connections = 100001",
            "connections-per-address = -1",
            "idle-timeout = '0s'",
            "idle-timeout = '2h'",
            "idle-timeout = 'soon'",
        ] {
            let file = format!("[tcp]\n{file}");
            assert!(Settings::from_toml(&file).is_err(), "{file}");
        }
    }
}

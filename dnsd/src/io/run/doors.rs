//! What clients and operators come by, open before anything runs: a port in use is found here.

use super::ServeError;
use crate::config::{ServeConfig, TcpSetup};
use crate::io::admin::AdminSocket;
use crate::io::certificate::{Certificate, CertificateFiles};
use crate::io::client_authorities::ClientAuthorities;
use crate::io::encrypted::Encrypted;
use crate::io::listeners::Bound;
use crate::io::{listeners, tcp};
use crate::serve::Setup;
use crate::setting::PeerName;

/// What clients and operators come by; nobody is let in yet.
pub(super) struct Doors {
    pub(super) dns: Bound,
    pub(super) admin: AdminSocket,
    pub(super) metrics: Option<tokio::net::TcpListener>,
}

impl Doors {
    /// Opens them all.
    pub(super) fn open(
        config: &ServeConfig,
        runtime: &tokio::runtime::Runtime,
    ) -> Result<Self, ServeError> {
        let dns = Bound::new(listeners::Config {
            listen: config.listen.clone(),
            udp_workers: None,
            setup: Setup {
                nsid: config.nsid.clone(),
                chaos: config.chaos.clone(),
                requires_server_cookie: config.requires_server_cookie,
                certified: config.encrypted.certified.clone(),
                ..Setup::default()
            },
            rate_limit: config.rate_limit.clone(),
            tcp: limits(&config.tcp),
            proxies: config.proxies.clone(),
            encrypted: encrypted(config)?,
        })
        .map_err(ServeError::Listen)?;
        let _guard = runtime.enter();
        let admin = AdminSocket::bind(&config.admin)
            .map_err(|error| ServeError::Bind(config.admin.display().to_string(), error))?;
        let metrics = config.metrics.map(|address| {
            runtime
                .block_on(tokio::net::TcpListener::bind(address))
                .map_err(|error| ServeError::Bind(address.to_string(), error))
        });
        Ok(Self {
            dns,
            admin,
            metrics: metrics.transpose()?,
        })
    }
}

fn limits(setup: &TcpSetup) -> tcp::Limits {
    let limits = tcp::Limits::default();
    tcp::Limits {
        connections_max: setup.connections.unwrap_or(limits.connections_max),
        connections_per_address_max: setup
            .connections_per_address
            .unwrap_or(limits.connections_per_address_max),
        timeout_idle: setup.timeout_idle.unwrap_or(limits.timeout_idle),
        ..limits
    }
}

/// What encrypted DNS is served by, if any is.
fn encrypted(config: &ServeConfig) -> Result<Option<Encrypted>, ServeError> {
    let setup = &config.encrypted;
    if setup.is_empty() {
        return Ok(None);
    }
    let files = match setup.certificate.clone() {
        Some((chain, key)) => CertificateFiles { chain, key },
        None => {
            let made = CertificateFiles::made(&config.data_dir, own_names(config));
            made.map_err(ServeError::Certificate)?
        }
    };
    let certificate = Certificate::open(files).map_err(ServeError::Certificate)?;
    let authorities = setup
        .client_authorities
        .clone()
        .map(ClientAuthorities::open);
    Ok(Some(Encrypted {
        certificate,
        authorities: authorities.transpose().map_err(ServeError::Certificate)?,
        addresses: setup.addresses.clone(),
    }))
}

/// What a certificate that this peer makes says it is.
fn own_names(config: &ServeConfig) -> Vec<String> {
    let listens = config.encrypted.addresses.all().map(|address| address.ip());
    let known = listens.filter(|ip| !ip.is_unspecified());
    let name = config.name.iter().map(PeerName::as_str);
    let name = name.filter(|name| name.is_ascii()).map(str::to_owned);
    name.chain(known.map(|ip| ip.to_string())).collect()
}

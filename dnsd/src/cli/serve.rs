//! `dnsd serve`: flags and file together, at the start and at every reload.

use super::{Failure, Global};
use crate::config::{Birth, Effect, ServeConfig, Settings, changes};
use crate::io::file;
use crate::io::log::{self, LogHandle};
use crate::io::memory;
use crate::io::run::{self, ServeError};
use clap::Args;
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use tracing::{info, warn};

/// Arguments of `serve`.
#[derive(Clone, Debug, Args)]
pub struct Serve {
    /// A TOML file with the same options, without their dashes; flags win over it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
}

pub(super) const EXAMPLES: &str = "\
Without any option it is a cluster of one: data in ./data, DNS on 127.0.0.1:5353, nobody may update.
SIGTERM stops it cleanly; it stays a member. SIGHUP reads the file again.

Examples:
  dnsd serve --zone example.test=example.zone --allow-update 127.0.0.0/8
  dnsd serve --data-dir b --listen 127.0.0.1:5354 --join TOKEN
  dnsd serve --config /etc/dnsd.toml

A file:
  data-dir = \"/var/lib/dnsd\"
  listen = [\"192.0.2.53:53\", \"[2001:db8::53]:53\"]
  peer-listen = \"192.0.2.53:5300\"
  metrics = \"127.0.0.1:9153\"
  [overlay]
  profile = \"lan\"";

/// Runs a peer until it is told to stop.
pub fn serve(serve: Serve, global: &Global) -> Result<(), Failure> {
    memory::set_up();
    let started = Started {
        flags: serve
            .settings
            .with_paths(global.data_dir.clone(), global.named_socket()),
        config: serve.config,
    };
    let config = memory::apart(|| started.load())?;
    let log = log::start(config.log_format, config.log_level);
    let mut running = config.clone();
    if let Birth::Cluster { zones, .. } = &mut running.birth {
        zones.forget();
    }
    let running = RefCell::new(running);
    run::serve(config, move || {
        started.reload(&mut running.borrow_mut(), &log);
    })
    .map_err(|error| match error {
        ServeError::Zone(_) => Failure::Faults(error.to_string()),
        _ => Failure::Message(error.to_string()),
    })
}

/// How the daemon was started: what a reload goes by.
struct Started {
    flags: Settings,
    config: Option<PathBuf>,
}

impl Started {
    /// Reads the file, if there is one, and puts the flags over it.
    fn load(&self) -> Result<ServeConfig, Failure> {
        let file = match &self.config {
            None => Settings::default(),
            Some(path) => read_config(path)?,
        };
        ServeConfig::new(&self.flags, &file).map_err(|error| Failure::Message(error.to_string()))
    }

    /// Reads the file again: what can change now does, the rest is told.
    fn reload(&self, running: &mut ServeConfig, log: &LogHandle) {
        let read = match self.load() {
            Ok(read) => read,
            Err(failure) => {
                warn!(%failure, "the configuration file is not used");
                return;
            }
        };
        let changes = changes(running, &read);
        log.set_level(read.log_level);
        running.log_level = read.log_level;
        info!(changes = changes.len(), "read the configuration again");
        for change in changes {
            match change.effect {
                Effect::Now => info!("{change}"),
                Effect::Restart | Effect::BirthOnly => warn!("{change}"),
            }
        }
    }
}

/// Reads a configuration file; a fault names file, line and column.
pub(super) fn read_config(path: &Path) -> Result<Settings, Failure> {
    let text = file::read_text(path)?;
    Settings::from_toml(&text)
        .map_err(|error| Failure::Faults(format!("{}:{error}", path.display())))
}

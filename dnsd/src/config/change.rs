//! What has changed between two readings of the configuration, and when that has effect.

use super::ServeConfig;
use std::fmt;

/// A setting that differs between two readings of the file, and what that means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Change {
    /// The setting.
    pub setting: &'static str,
    /// When it has effect.
    pub effect: Effect,
}

/// When a changed setting has effect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// From the reload on.
    Now,
    /// After a restart.
    Restart,
    /// Never: it speaks of the birth of a cluster or of a join.
    BirthOnly,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let setting = self.setting;
        match self.effect {
            Effect::Now => write!(f, "{setting} has changed"),
            Effect::Restart => write!(f, "{setting} has changed and needs a restart"),
            Effect::BirthOnly => write!(
                f,
                "{setting} has changed and is ignored: it speaks of a fresh data directory"
            ),
        }
    }
}

/// What SIGHUP finds: the settings that differ. Only the log level takes effect at once; sockets,
/// links and timers are set up at the start.
#[must_use]
pub fn changes(old: &ServeConfig, new: &ServeConfig) -> Vec<Change> {
    let compared = [
        ("log-level", old.log_level != new.log_level, Effect::Now),
        (
            "log-format",
            old.log_format != new.log_format,
            Effect::Restart,
        ),
        ("data-dir", old.data_dir != new.data_dir, Effect::Restart),
        ("admin", old.admin != new.admin, Effect::Restart),
        ("name", old.name != new.name, Effect::Restart),
        ("listen", old.listen != new.listen, Effect::Restart),
        ("proxy-from", old.proxies != new.proxies, Effect::Restart),
        ("tcp", old.tcp != new.tcp, Effect::Restart),
        ("tls", old.encrypted != new.encrypted, Effect::Restart),
        (
            "peer-listen",
            old.peer_listen != new.peer_listen,
            Effect::Restart,
        ),
        (
            "peer-advertise",
            old.peer_advertise != new.peer_advertise,
            Effect::Restart,
        ),
        ("peer", old.peers != new.peers, Effect::Restart),
        ("link", old.links != new.links, Effect::Restart),
        (
            "overlay.profile",
            old.overlay_profile != new.overlay_profile,
            Effect::Restart,
        ),
        ("vip", old.vip != new.vip, Effect::Restart),
        ("metrics", old.metrics != new.metrics, Effect::Restart),
        ("nsid", old.nsid != new.nsid, Effect::Restart),
        ("chaos", old.chaos != new.chaos, Effect::Restart),
        (
            "require-server-cookie",
            old.requires_server_cookie != new.requires_server_cookie,
            Effect::Restart,
        ),
        (
            "rate-limit",
            old.rate_limit != new.rate_limit,
            Effect::Restart,
        ),
        (
            "set-aside-corrupt-store",
            old.corrupt_store != new.corrupt_store,
            Effect::Restart,
        ),
        (
            "zone, allow-update, allow-transfer or join",
            old.birth != new.birth,
            Effect::BirthOnly,
        ),
    ];
    compared
        .into_iter()
        .filter(|(_, differs, _)| *differs)
        .map(|(setting, _, effect)| Change { setting, effect })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    #[test]
    fn only_the_log_level_changes_at_once() {
        let config = |file: &str| {
            let file = Settings::from_toml(file).unwrap();
            ServeConfig::new(&Settings::default(), &file).unwrap()
        };
        let old = config("");
        assert_eq!(changes(&old, &old), []);
        let new = config("log-level = 'debug'\nlisten = 'none'\nzone = 'a=b'");
        let effects: Vec<_> = changes(&old, &new).iter().map(|c| c.effect).collect();
        assert_eq!(effects, [Effect::Now, Effect::Restart, Effect::BirthOnly]);
    }
}

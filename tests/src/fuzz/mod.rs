//! Fuzz targets: whatever bytes come through a door, nothing panics, and what reads is written
//! and read again as the same.
//!
//! Each target is a plain function with samples to begin with. `tests/fuzz_smoke.rs` mutates
//! those on any toolchain; `tests/fuzz` hands the same functions to libFuzzer.

pub mod encrypted;
pub mod message;
pub mod proxy;
pub mod replication;
pub mod rows;
pub mod text;
pub mod transfer_in;
pub mod vip;

/// One door.
pub struct Target {
    /// What it is called in `tests/fuzz`.
    pub name: &'static str,
    /// Takes any bytes.
    pub run: fn(&[u8]),
    /// Inputs to begin with, the more different paths the better.
    pub samples: fn() -> Vec<Vec<u8>>,
}

/// All doors.
pub const TARGETS: [Target; 13] = [
    Target {
        name: "message",
        run: message::run,
        samples: message::samples,
    },
    Target {
        name: "name",
        run: text::run_name,
        samples: text::name_samples,
    },
    Target {
        name: "zonefile",
        run: text::run_zonefile,
        samples: text::zonefile_samples,
    },
    Target {
        name: "config",
        run: text::run_config,
        samples: text::config_samples,
    },
    Target {
        name: "policy",
        run: text::run_policy,
        samples: text::policy_samples,
    },
    Target {
        name: "token",
        run: text::run_token,
        samples: text::token_samples,
    },
    Target {
        name: "overlay",
        run: run_overlay,
        samples: overlay::doors::samples,
    },
    Target {
        name: "replication",
        run: replication::run,
        samples: replication::samples,
    },
    Target {
        name: "rows",
        run: rows::run,
        samples: rows::samples,
    },
    Target {
        name: "vip",
        run: vip::run,
        samples: vip::samples,
    },
    Target {
        name: "proxy",
        run: proxy::run,
        samples: proxy::samples,
    },
    Target {
        name: "encrypted",
        run: encrypted::run,
        samples: encrypted::samples,
    },
    Target {
        name: "transfer_in",
        run: transfer_in::run,
        samples: transfer_in::samples,
    },
];

/// Runs one target by its name.
pub fn run(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.expect("the name of a target").run)(bytes);
}

fn run_overlay(bytes: &[u8]) {
    let _ = overlay::doors::read(bytes);
}

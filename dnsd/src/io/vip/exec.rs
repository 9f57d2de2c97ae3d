//! The driver that runs a program for each change, for BGP daemons and the interfaces of clouds.
use super::{Cleaned, Guard, Orders, ReportTo};
use std::path::PathBuf;
use std::time::Duration;
pub(super) async fn run(
    _c: PathBuf,
    _t: Duration,
    _g: Option<Guard>,
    _r: ReportTo,
    _o: Orders,
    _cl: Cleaned,
) {
}

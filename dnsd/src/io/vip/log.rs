//! The driver that does nothing: a dry run, each change a line.

use super::{Cleaned, Orders, ReportTo};
use crate::vip::kernel::{Heard, Kernel, Order, Report};
use std::collections::BTreeMap;
use tracing::info;

pub(super) async fn run(report: ReportTo, mut orders: Orders, cleaned: Cleaned) {
    // Nobody waits if the daemon stops at once.
    drop(cleaned.send(Ok(())));
    let mut states = BTreeMap::new();
    while let Some((_, order)) = orders.recv().await {
        match order {
            Order::Vips(vips) => {
                report(Report::Can(
                    vips.into_keys().map(|vip| (vip, Ok(()))).collect(),
                ));
            }
            Order::Change(vip, state) => {
                let before = states.insert(vip, state).unwrap_or(Kernel::Absent);
                info!(%vip, %before, %state, "a dry run: this VIP would change");
                report(Report::Is(vip, state));
            }
            Order::Announce(vip) => info!(%vip, "a dry run: this VIP would be announced again"),
            Order::Ask(vip) => report(Report::Segment(vip, Heard::Nobody)),
        }
    }
}

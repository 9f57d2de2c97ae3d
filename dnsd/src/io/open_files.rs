//! How many files and connections the process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

/// What the limits of connections, links, the store and the listeners may need together. More would
/// be passed on to the programs that this one starts, some of which look at each.
const NEEDED: u64 = 4_096;

/// Raises the soft limit, usually 1 024, as far as it is needed and permitted.
pub(super) fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(NEEDED, |most| most.min(NEEDED));
    if limit.current.is_none_or(|current| current >= wanted) {
        return;
    }
    let raised = Rlimit {
        current: Some(wanted),
        ..limit
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        warn!(%error, wanted, "the number of open files keeps its limit");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_files_may_be_open_as_are_needed_or_permitted() {
        raise_limit();
        let limit = getrlimit(Resource::Nofile);
        let permitted = limit.maximum.unwrap_or(u64::MAX);
        let current = limit.current.unwrap_or(u64::MAX);
        assert!(current >= NEEDED.min(permitted), "{limit:?}");
    }
}

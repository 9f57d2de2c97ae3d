//! Runs all golden scripts. `UPDATE=1` rewrites them.

mod lookup;

use tests::script::{check, scripts};

#[test]
fn lookup() {
    let failures: Vec<String> = scripts("lookup")
        .iter()
        .filter_map(|path| {
            let mut server = lookup::Server::default();
            check(path, |command| server.run(command)).err()
        })
        .collect();
    assert!(failures.is_empty(), "\n{}", failures.concat());
}

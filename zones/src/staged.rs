//! A set of rows of any size that comes true at once, though it takes many pieces to write.
//!
//! ```text
//! stage: copies under "staged"  ─►  commit: one row  ─►  apply: the rows in place, copies away
//!        until here nothing counts       from here all of it counts
//! ```
//! After a crash `recover` finishes what was committed and drops what was not.

use crate::store::{
    Database, KeyValue, PIECE_ROWS_MAX, PIECE_ROWS_POLITE, Row, Store, StoreError, pieces,
};

/// The pieces to write, in this order; flush before and after the commit.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Staged {
    /// Copies of the rows; none if all rows fit into the commit.
    pub stage: Vec<Vec<Row>>,
    /// The piece by which the rows come true.
    pub commit: Vec<Row>,
    /// Puts the rows in their places.
    pub apply: Vec<Vec<Row>>,
}

/// Plans the writing of `rows`, no two of them to one place.
#[must_use]
pub fn stage(rows: Vec<Row>) -> Staged {
    let mut whole = pieces(rows, PIECE_ROWS_POLITE);
    if whole.len() <= 1 {
        let commit = whole.pop().unwrap_or_default();
        return Staged {
            commit,
            ..Staged::default()
        };
    }
    let copies: Vec<Row> = whole.iter().flatten().map(copy).collect();
    let removals = copies
        .iter()
        .map(|row| Row::delete(row.tree, row.key.clone()))
        .collect();
    let mut apply = whole;
    apply.extend(cleared(removals));
    Staged {
        stage: pieces(copies, PIECE_ROWS_POLITE),
        commit: vec![Row::put(COMMIT, COMMIT_KEY, Vec::new())],
        apply,
    }
}

/// Finishes or drops what a crash left in the middle. `trees` are all trees of this database to
/// which rows are staged. To be called before anything else is read.
pub fn recover(
    store: &mut dyn Store,
    database: Database,
    trees: &[&'static str],
) -> Result<(), StoreError> {
    let is_committed = store.get(database, COMMIT, &COMMIT_KEY)?.is_some();
    let mut removals = Vec::new();
    let mut rows = Vec::new();
    for tree in [PUT, DELETE] {
        for row in store.scan(database, tree, &[]) {
            let row = row?;
            removals.push(Row::delete(tree, row.0.clone()));
            if is_committed {
                rows.push(original(database, tree, row, trees)?);
            }
        }
    }
    if removals.is_empty() && !is_committed {
        return Ok(());
    }
    for piece in pieces(rows, PIECE_ROWS_MAX)
        .into_iter()
        .chain(cleared(removals))
    {
        store.write(database, &piece)?;
    }
    store.flush(database)
}

/// The commit goes before the first copy: the rest of the copies alone must not come true again.
fn cleared(mut removals: Vec<Row>) -> Vec<Vec<Row>> {
    removals.insert(0, Row::delete(COMMIT, COMMIT_KEY));
    pieces(removals, PIECE_ROWS_POLITE)
}

/// Tree and key of the row are the key of its copy, so that no value grows.
fn copy(row: &Row) -> Row {
    let key = [row.tree.as_bytes(), &[0], &row.key].concat();
    match &row.value {
        Some(value) => Row::put(PUT, key, value.clone()),
        None => Row::put(DELETE, key, Vec::new()),
    }
}

fn original(
    database: Database,
    tree: &str,
    (key, value): KeyValue,
    trees: &[&'static str],
) -> Result<Row, StoreError> {
    let corrupt = || StoreError::Corrupt {
        place: format!("database {}, tree {tree}", database.name()),
        cause: format!("the row {} is for an unknown tree", key.escape_ascii()),
    };
    let end = key.iter().position(|byte| *byte == 0).ok_or_else(corrupt)?;
    let target = trees
        .iter()
        .find(|tree| tree.as_bytes() == &key[..end])
        .ok_or_else(corrupt)?;
    let value = (tree == PUT).then_some(value);
    Ok(Row {
        tree: target,
        key: key[end + 1..].to_vec(),
        value,
    })
}

/// Copies of rows to put.
const PUT: &str = "staged";
/// Copies of rows to delete.
const DELETE: &str = "staged-delete";
/// Its one row says that the copies count.
const COMMIT: &str = "staged-commit";
const COMMIT_KEY: [u8; 1] = [0];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory_store::MemoryStore;

    fn contents(store: &MemoryStore) -> Vec<KeyValue> {
        store
            .scan(Database::Zones, "t", &[])
            .map(Result::unwrap)
            .collect()
    }

    #[test]
    fn a_crash_anywhere_leaves_all_or_nothing() {
        let put = |n: u32, value: u8| Row::put("t", n.to_be_bytes(), [value]);
        let first: Vec<Row> = (0..450u32).map(|n| put(n, 1)).collect();
        let second: Vec<Row> = (0..450u32)
            .map(|n| {
                if n % 3 == 0 {
                    Row::delete("t", n.to_be_bytes())
                } else {
                    put(n, 2)
                }
            })
            .collect();
        let mut outcomes = [0; 2];
        for seed in 0..60 {
            let mut store = MemoryStore::new(seed);
            for piece in pieces(first.clone(), 500) {
                store.write(Database::Zones, &piece).unwrap();
            }
            store.flush(Database::Zones).unwrap();
            let before = contents(&store);
            let staged = stage(second.clone());
            assert!(staged.stage.len() > 1 && staged.apply.len() > 1);
            for piece in [staged.stage, vec![staged.commit], staged.apply].concat() {
                store.write(Database::Zones, &piece).unwrap();
            }
            let after = contents(&store);
            store.crash();
            recover(&mut store, Database::Zones, &["t"]).unwrap();
            // A crash right after must not lose what was recovered.
            store.crash();
            let found = contents(&store);
            assert!(found == before || found == after, "seed {seed}");
            outcomes[usize::from(found == after)] += 1;
            for tree in [PUT, DELETE, COMMIT] {
                assert_eq!(store.scan(Database::Zones, tree, &[]).count(), 0);
            }
        }
        assert!(
            outcomes[0] > 0 && outcomes[1] > 0,
            "both outcomes are met: {outcomes:?}"
        );
    }

    #[test]
    fn few_rows_need_no_copies() {
        let staged = stage(vec![Row::put("t", *b"k", *b"v")]);
        assert_eq!(
            (staged.stage.len(), staged.commit.len(), staged.apply.len()),
            (0, 1, 0)
        );
        assert_eq!(stage(Vec::new()), Staged::default());
    }
}

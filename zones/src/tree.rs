//! A persistent ordered tree: a B+tree whose copies share what they have in common.
//!
//! ```text
//! Tree ─► branch (first items of its children) ─► leaf (up to 24 items)
//!    copy ─► its own path to what it changed, everything else shared
//! ```
//! Items are put in or replaced, never taken out: what was deleted is an item that says so.

use std::sync::Arc;

use crate::key::head;

/// An item that carries its own key.
pub(crate) trait Keyed: Clone {
    /// The place of the item in the order, among those of the same head.
    fn key(&self) -> &[u8];
}

/// The tree. A clone costs one reference count.
#[derive(Clone)]
pub(crate) struct Tree<T> {
    root: Option<Arc<Branch<T>>>,
    len: usize,
}

#[derive(Clone)]
struct Branch<T> {
    /// 0 for a leaf.
    height: u8,
    /// The items of a leaf; above, the first item of each child.
    slots: Vec<Slot<T>>,
    children: Vec<Arc<Self>>,
}

#[derive(Clone)]
struct Slot<T> {
    head: u64,
    item: T,
}

impl<T> Tree<T> {
    /// A tree without items.
    pub(crate) const EMPTY: Self = Self { root: None, len: 0 };
}

impl<T> Default for Tree<T> {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl<T: Keyed> Tree<T> {
    /// Puts `item` in, and returns the item of the same key that it replaces.
    pub(crate) fn put(&mut self, item: T) -> Option<T> {
        self.put_at(head(item.key()), item)
    }

    /// As [`Self::put`], for items that have another head than the first bytes of their keys.
    pub(crate) fn put_at(&mut self, head: u64, item: T) -> Option<T> {
        let slot = Slot { head, item };
        let Some(root) = &mut self.root else {
            let mut slots = Vec::with_capacity(BRANCH_SLOTS_MAX + 1);
            slots.push(slot);
            let leaf = Branch {
                height: 0,
                slots,
                children: Vec::new(),
            };
            self.root = Some(Arc::new(leaf));
            self.len = 1;
            return None;
        };
        let (replaced, split) = insert(root, slot);
        if let Some(right) = split {
            let children = vec![root.clone(), right];
            let slots = children
                .iter()
                .map(|child| child.slots[0].clone())
                .collect();
            *root = Arc::new(Branch {
                height: root.height + 1,
                slots,
                children,
            });
        }
        self.len += usize::from(replaced.is_none());
        replaced
    }

    /// How many items there are, those that say "deleted" included.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The item with this key.
    pub(crate) fn get(&self, key: &[u8]) -> Option<&T> {
        self.at_or_before(key).filter(|item| item.key() == key)
    }

    /// The last item with this head.
    #[inline]
    pub(crate) fn get_at(&self, head: u64) -> Option<&T> {
        let slot = self.last_below(|at, _| at <= head)?;
        (slot.head == head).then_some(&slot.item)
    }

    /// The greatest item at or below `key`.
    pub(crate) fn at_or_before(&self, key: &[u8]) -> Option<&T> {
        let target = (head(key), key);
        let slot = self.last_below(|head, item| (head, item.key()) <= target)?;
        Some(&slot.item)
    }

    /// The greatest item strictly below `key`.
    pub(crate) fn before(&self, key: &[u8]) -> Option<&T> {
        let target = (head(key), key);
        let slot = self.last_below(|head, item| (head, item.key()) < target)?;
        Some(&slot.item)
    }

    /// The items from `key` on, in order.
    pub(crate) fn iter_from(&self, key: &[u8]) -> Iter<'_, T> {
        self.iter_at(head(key), key)
    }

    /// The items from this place on, in order.
    pub(crate) fn iter_at(&self, head: u64, key: &[u8]) -> Iter<'_, T> {
        let target = (head, key);
        let mut path = Vec::new();
        let mut next = self.root.as_deref();
        while let Some(branch) = next {
            if branch.height == 0 {
                let at = branch.slots.partition_point(|slot| slot.place() < target);
                path.push((branch, at));
                break;
            }
            let after = branch.slots.partition_point(|slot| slot.place() <= target);
            let child = after.saturating_sub(1);
            path.push((branch, child + 1));
            next = Some(&branch.children[child]);
        }
        Iter { path }
    }

    /// All items, in order.
    pub(crate) fn iter(&self) -> Iter<'_, T> {
        self.iter_from(&[])
    }

    /// Calls `each` with what stands at every key that may differ between two trees. Branches
    /// that both share are skipped, so the cost is that of what changed.
    pub(crate) fn difference<'t>(
        old: &'t Self,
        new: &'t Self,
        mut each: impl FnMut(Option<&'t T>, Option<&'t T>),
    ) {
        let mut left: Vec<Pending<'t, T>> = old.root.iter().map(Pending::Branch).collect();
        let mut right: Vec<Pending<'t, T>> = new.root.iter().map(Pending::Branch).collect();
        loop {
            match (left.last().copied(), right.last().copied()) {
                (None, None) => return,
                (Some(Pending::Branch(a)), Some(Pending::Branch(b))) if Arc::ptr_eq(a, b) => {
                    left.pop();
                    right.pop();
                }
                (Some(Pending::Item(a)), None) => {
                    left.pop();
                    each(Some(&a.item), None);
                }
                (None, Some(Pending::Item(b))) => {
                    right.pop();
                    each(None, Some(&b.item));
                }
                (Some(Pending::Branch(_)), None) => expand(&mut left),
                (None, Some(Pending::Branch(_))) => expand(&mut right),
                (Some(a), Some(b)) => match (a.place().cmp(&b.place()), a, b) {
                    // A branch that begins later may still turn out to be shared: it waits.
                    (std::cmp::Ordering::Less, Pending::Item(a), _) => {
                        left.pop();
                        each(Some(&a.item), None);
                    }
                    (std::cmp::Ordering::Less, Pending::Branch(_), _) => expand(&mut left),
                    (std::cmp::Ordering::Greater, _, Pending::Item(b)) => {
                        right.pop();
                        each(None, Some(&b.item));
                    }
                    (std::cmp::Ordering::Greater, _, Pending::Branch(_)) => expand(&mut right),
                    (std::cmp::Ordering::Equal, Pending::Item(a), Pending::Item(b)) => {
                        left.pop();
                        right.pop();
                        each(Some(&a.item), Some(&b.item));
                    }
                    (std::cmp::Ordering::Equal, Pending::Branch(a), Pending::Branch(b)) => {
                        if a.height >= b.height {
                            expand(&mut left);
                        }
                        if b.height >= a.height {
                            expand(&mut right);
                        }
                    }
                    (std::cmp::Ordering::Equal, Pending::Branch(_), Pending::Item(_)) => {
                        expand(&mut left);
                    }
                    (std::cmp::Ordering::Equal, Pending::Item(_), Pending::Branch(_)) => {
                        expand(&mut right);
                    }
                },
            }
        }
    }

    /// The last item of those for which `is_below` holds: all up to some key.
    #[inline]
    fn last_below(&self, is_below: impl Fn(u64, &T) -> bool) -> Option<&Slot<T>> {
        let mut branch = self.root.as_deref()?;
        loop {
            let after = branch
                .slots
                .partition_point(|slot| is_below(slot.head, &slot.item));
            // The first item of a child is below, so its last one below is in that child.
            let at = after.checked_sub(1)?;
            if branch.height == 0 {
                return Some(&branch.slots[at]);
            }
            branch = &branch.children[at];
        }
    }
}

impl<T: Keyed> Slot<T> {
    fn place(&self) -> (u64, &[u8]) {
        (self.head, self.item.key())
    }
}

/// Items of a tree in order.
#[derive(Clone)]
pub(crate) struct Iter<'t, T> {
    /// The branches from the root down, each with the index of what comes next in it.
    path: Vec<(&'t Branch<T>, usize)>,
}

impl<'t, T> Iterator for Iter<'t, T> {
    type Item = &'t T;

    fn next(&mut self) -> Option<&'t T> {
        loop {
            let (branch, at) = self.path.last_mut()?;
            let (branch, index) = (*branch, *at);
            *at += 1;
            if index == branch.slots.len() {
                self.path.pop();
            } else if branch.height == 0 {
                return Some(&branch.slots[index].item);
            } else {
                self.path.push((&branch.children[index], 0));
            }
        }
    }
}

/// What a difference has still to look at.
enum Pending<'t, T> {
    Branch(&'t Arc<Branch<T>>),
    Item(&'t Slot<T>),
}

impl<T> Clone for Pending<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Pending<'_, T> {}

impl<'t, T: Keyed> Pending<'t, T> {
    fn place(self) -> (u64, &'t [u8]) {
        match self {
            Self::Branch(branch) => branch.slots[0].place(),
            Self::Item(slot) => slot.place(),
        }
    }
}

fn expand<T>(pending: &mut Vec<Pending<'_, T>>) {
    if let Some(Pending::Branch(branch)) = pending.pop() {
        if branch.height == 0 {
            pending.extend(branch.slots.iter().rev().map(Pending::Item));
        } else {
            pending.extend(branch.children.iter().rev().map(Pending::Branch));
        }
    }
}

/// Puts `slot` below `branch`; returns what it replaces, and the new right neighbor of `branch`
/// if that grew too large.
fn insert<T: Keyed>(
    branch: &mut Arc<Branch<T>>,
    slot: Slot<T>,
) -> (Option<T>, Option<Arc<Branch<T>>>) {
    // Path copying: a branch that another tree shares is copied, one of our own is changed.
    let branch = Arc::make_mut(branch);
    let found = branch
        .slots
        .binary_search_by(|probe| probe.place().cmp(&slot.place()));
    if branch.height == 0 {
        return match found {
            Ok(at) => (
                Some(std::mem::replace(&mut branch.slots[at], slot).item),
                None,
            ),
            Err(at) => {
                branch.slots.insert(at, slot);
                (None, split(branch, at))
            }
        };
    }
    let at = match found {
        Ok(at) => at,
        Err(after) => after.saturating_sub(1),
    };
    let (replaced, right) = insert(&mut branch.children[at], slot);
    branch.slots[at] = branch.children[at].slots[0].clone();
    let Some(right) = right else {
        return (replaced, None);
    };
    branch.slots.insert(at + 1, right.slots[0].clone());
    branch.children.insert(at + 1, right);
    (replaced, split(branch, at + 1))
}

/// Cuts off the right part of a branch that became too large by what was put in at `at`.
fn split<T: Clone>(branch: &mut Branch<T>, at: usize) -> Option<Arc<Branch<T>>> {
    if branch.slots.len() <= BRANCH_SLOTS_MAX {
        return None;
    }
    // Items that come in order leave full branches behind.
    let middle = if at == BRANCH_SLOTS_MAX {
        at
    } else {
        branch.slots.len() / 2
    };
    // Just what a full branch takes: there are very many.
    let mut slots = Vec::with_capacity(BRANCH_SLOTS_MAX + 1);
    slots.extend(branch.slots.drain(middle..));
    let children = match branch.height {
        0 => Vec::new(),
        _ => branch.children.split_off(middle),
    };
    Some(Arc::new(Branch {
        height: branch.height,
        slots,
        children,
    }))
}

/// Measured: larger branches copy more for each change, smaller ones need more levels.
const BRANCH_SLOTS_MAX: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    impl Keyed for (Vec<u8>, u32) {
        fn key(&self) -> &[u8] {
            &self.0
        }
    }

    fn key() -> impl Strategy<Value = Vec<u8>> {
        // Few bytes and long common beginnings, so that heads tie.
        prop_oneof![
            proptest::collection::vec(0..4u8, 0..5),
            proptest::collection::vec(0..3u8, 7..11),
            (0..500u16).prop_map(|n| n.to_be_bytes().to_vec()),
        ]
    }

    type Item = (Vec<u8>, u32);

    fn build(puts: &[Item]) -> (Tree<Item>, BTreeMap<Vec<u8>, u32>) {
        let (mut tree, mut model) = (Tree::default(), BTreeMap::new());
        for put in puts {
            let replaced = tree.put(put.clone()).map(|item| item.1);
            assert_eq!(replaced, model.insert(put.0.clone(), put.1));
        }
        (tree, model)
    }

    proptest! {
        #[test]
        fn equals_a_map(
            puts in proptest::collection::vec((key(), any::<u32>()), 0..1500),
            probes in proptest::collection::vec(key(), 20),
        ) {
            let (tree, model) = build(&puts);
            prop_assert_eq!(tree.len(), model.len());
            let all: BTreeMap<_, _> = tree.iter().cloned().collect();
            prop_assert_eq!(&all, &model);
            for probe in probes {
                let value = |item: Option<&(Vec<u8>, u32)>| item.cloned();
                let pair = |item: Option<(&Vec<u8>, &u32)>| item.map(|(k, v)| (k.clone(), *v));
                prop_assert_eq!(value(tree.get(&probe)), pair(model.get_key_value(&probe)));
                let before = model.range(..probe.clone()).next_back();
                prop_assert_eq!(value(tree.before(&probe)), pair(before));
                let from: Vec<_> = tree.iter_from(&probe).cloned().collect();
                let expected: Vec<_> = model.range(probe..).map(|(k, v)| (k.clone(), *v)).collect();
                prop_assert_eq!(from, expected);
            }
        }

        #[test]
        fn difference_finds_every_change(
            puts in proptest::collection::vec((key(), any::<u32>()), 0..1000),
            more in proptest::collection::vec((key(), any::<u32>()), 0..60),
            other in proptest::collection::vec((key(), any::<u32>()), 0..60),
        ) {
            let (old, _) = build(&puts);
            let (mut a, mut b) = (old.clone(), old);
            more.iter().for_each(|put| drop(a.put(put.clone())));
            other.iter().for_each(|put| drop(b.put(put.clone())));
            let mut expected: BTreeMap<Vec<u8>, (Option<u32>, Option<u32>)> = BTreeMap::new();
            a.iter().for_each(|item| expected.entry(item.0.clone()).or_default().0 = Some(item.1));
            b.iter().for_each(|item| expected.entry(item.0.clone()).or_default().1 = Some(item.1));
            expected.retain(|_, (before, after)| before != after);
            let mut found = BTreeMap::new();
            Tree::difference(&a, &b, |before, after| {
                let key = before.or(after).unwrap().0.clone();
                let pair = (before.map(|item| item.1), after.map(|item| item.1));
                assert!(found.insert(key, pair).is_none(), "each key once");
            });
            found.retain(|_, (before, after)| before != after);
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn difference_visits_only_what_changed() {
        let puts: Vec<_> = (0..10_000u32)
            .map(|n| (n.to_be_bytes().to_vec(), n))
            .collect();
        let (old, _) = build(&puts);
        let mut new = old.clone();
        new.put((5_000u32.to_be_bytes().to_vec(), 7));
        let mut visited = 0;
        Tree::difference(&old, &new, |_, _| visited += 1);
        assert!(visited <= BRANCH_SLOTS_MAX, "{visited} items of one leaf");
    }
}

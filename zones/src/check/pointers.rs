//! The names to which records point. Many records point to few names, so each is looked up once.

use crate::name::NameRef;
use crate::rtype::Rtype;

/// Names that are pointed to, and by which records.
#[derive(Default)]
pub(super) struct Pointers<'z> {
    targets: Vec<Pointed<'z>>,
    /// A record, and the target that it points to.
    uses: Vec<(u32, u32)>,
    /// Where a target stands among the others, and one more; 0 is free. One that finds no place
    /// drives another out, which is then listed, and looked up, more than once.
    slots: Vec<u32>,
}

/// A name that is pointed to.
pub(super) struct Pointed<'z> {
    pub(super) name: NameRef<'z>,
    /// True if an NS record points to it.
    pub(super) is_of_ns: bool,
}

impl<'z> Pointers<'z> {
    /// The record of this number and type points to `target`, a whole name.
    pub(super) fn add(&mut self, target: &'z [u8], record: u32, rtype: Rtype) {
        let number = self.number_of(NameRef::from_checked(target));
        self.targets[number as usize].is_of_ns |= rtype == Rtype::NS;
        self.uses.push((record, number));
    }

    /// The targets, by number.
    pub(super) fn targets(&self) -> &[Pointed<'z>] {
        &self.targets
    }

    /// Records, and the numbers of their targets.
    pub(super) fn uses(&self) -> impl Iterator<Item = (u32, u32)> {
        self.uses.iter().copied()
    }

    fn number_of(&mut self, name: NameRef<'z>) -> u32 {
        if self.targets.len() * 2 >= self.slots.len() {
            self.grow();
        }
        let first = self.first_slot(name);
        let mask = self.slots.len() - 1;
        let number = self.targets.len() as u32;
        for slot in (first..first + PROBES_MAX).map(|slot| slot & mask) {
            match self.slots[slot].checked_sub(1) {
                None => {
                    self.slots[slot] = number + 1;
                    self.targets.push(Pointed {
                        name,
                        is_of_ns: false,
                    });
                    return number;
                }
                Some(known) if self.targets[known as usize].name.as_wire() == name.as_wire() => {
                    return known;
                }
                Some(_) => {}
            }
        }
        self.slots[first] = number + 1;
        self.targets.push(Pointed {
            name,
            is_of_ns: false,
        });
        number
    }

    fn grow(&mut self) {
        let count = (2 * self.slots.len()).max(SLOTS_MIN);
        self.slots.clear();
        self.slots.resize(count, 0);
        for number in 0..self.targets.len() {
            let slot = self.first_slot(self.targets[number].name);
            self.slots[slot] = number as u32 + 1;
        }
    }

    fn first_slot(&self, name: NameRef<'_>) -> usize {
        crc32fast::hash(name.as_wire()) as usize & (self.slots.len() - 1)
    }
}

/// Enough for most zones; a power of two.
const SLOTS_MIN: usize = 16;
/// So many places are looked at: whoever makes names whose sums are alike gains little.
const PROBES_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Name;

    #[test]
    fn each_record_finds_its_target() {
        let names: Vec<Name> = (0..1_000)
            .map(|n| format!("n{n}.test").parse().unwrap())
            .collect();
        let mut pointers = Pointers::default();
        for record in 0..20_000 {
            let target = names[record as usize * 7 % names.len()].as_wire();
            let rtype = if record % 1_000 == 0 {
                Rtype::NS
            } else {
                Rtype::MX
            };
            pointers.add(target, record, rtype);
        }
        let targets = pointers.targets();
        assert!(targets.len() < 2 * names.len(), "{}", targets.len());
        for (record, target) in pointers.uses() {
            let expected = &names[record as usize * 7 % names.len()];
            assert!(targets[target as usize].name == expected.borrowed());
        }
        // One that was driven out is listed twice.
        let mut of_ns = targets.iter().filter(|target| target.is_of_ns);
        assert!(of_ns.clone().count() > 0);
        assert!(of_ns.all(|target| target.name == names[0].borrowed()));
    }
}

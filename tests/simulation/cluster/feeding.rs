//! A zone that the cluster follows: a primary outside, which changes it, tells some peer of it, and is
//! out of reach now and then. Everything else goes wrong as it does by chance.

use super::Fault;
use super::checks::Summary;
use super::ending::end;
use super::requests;
use super::schedule::{act, grow, wait};
use super::world::World;
use bytes::Bytes;
use dnsd::body::Order;
use dnsd::feed::{Ask, Brought};
use dnsd::remote::Remote;
use dnsd::requests::Sender;
use dnsd::zone_settings::SettingChange;
use std::net::IpAddr;
use tests::zone_text;
use zones::{Name, Serial, Version};

const ADDRESS: &str = "198.51.100.53";
/// Records that change together now and then: too many for an entry.
const MANY: u32 = 500;
/// How many serials lie between two such changes.
const MANY_EACH: u32 = 16;

/// The primary.
pub(crate) struct Primary {
    serial: u32,
    /// Whether it answers.
    is_there: bool,
    /// Whether it is taken back to what it was, now and then.
    starts_over: bool,
}

/// A primary whose serial goes on.
pub(crate) fn run(seed: u64) -> Result<Summary, String> {
    run_with(seed, false)
}

/// A primary that starts over now and then, from an older serial: an operator of the cluster has the
/// zone go back then.
pub(crate) fn run_back(seed: u64) -> Result<Summary, String> {
    run_with(seed, true)
}

fn run_with(seed: u64, starts_over: bool) -> Result<Summary, String> {
    let mut world = World::new(seed, Fault::None);
    world.birth()?;
    let size = world.random.usize(2..=4);
    grow(&mut world, size)?;
    world.primary = Some(Primary {
        serial: 100,
        is_there: true,
        starts_over,
    });
    follow(&mut world)?;
    for _ in 0..world.random.usize(20..70) {
        change(&mut world)?;
        act(&mut world)?;
    }
    world.primary.as_mut().expect("it was just made").is_there = true;
    end(&mut world)?;
    let mut summary = std::mem::take(&mut world.checks.summary);
    summary.trace = world.trace();
    Ok(summary)
}

/// An operator has the cluster follow the primary.
fn follow(world: &mut World) -> Result<(), String> {
    let limit = world.now + std::time::Duration::from_secs(60);
    while world.now < limit {
        for at in 0..world.hosts.len() {
            let clock = world.clock(at);
            let Some(machine) = world.ready(at) else {
                continue;
            };
            let client = machine.wiring.new_client();
            let primary: Remote = ADDRESS.parse().expect("a good address");
            let changes = vec![SettingChange::Primaries(vec![primary])];
            let peer = &mut machine.wiring.peer;
            let begun = peer.handle_zone_settings(client, origin(), changes, clock.wall, clock.now);
            world.drain(at)?;
            if begun.is_ok() {
                return wait(world, 500);
            }
        }
        wait(world, 500)?;
    }
    Err("nobody takes the setting".to_owned())
}

/// What the primary does, most often a little.
fn change(world: &mut World) -> Result<(), String> {
    let Some(primary) = &mut world.primary else {
        return Ok(());
    };
    let random = &mut world.random;
    if primary.starts_over && random.u8(0..8) == 0 {
        primary.serial = random.u32(100..=primary.serial);
        world.checks.goes_back.insert(origin());
        let at = random.usize(0..world.hosts.len());
        return go_back(world, at);
    }
    match random.u8(0..10) {
        0 => primary.is_there = !primary.is_there,
        1..7 => primary.serial += random.u32(1..4),
        _ => return Ok(()),
    }
    if random.u8(0..3) == 0 {
        return Ok(());
    }
    let at = random.usize(0..world.hosts.len());
    tell(world, at)
}

/// The primary tells all peers that there may be something newer.
pub(crate) fn tell_all(world: &mut World) -> Result<(), String> {
    if world.primary.is_some() {
        for at in 0..world.hosts.len() {
            tell(world, at)?;
        }
    }
    Ok(())
}

/// Operators see to it that the zone follows a primary that has started over. What was fetched on
/// another side before may come to stand behind that, so they look again.
pub(crate) fn go_back_anywhere(world: &mut World) -> Result<(), String> {
    if world
        .primary
        .as_ref()
        .is_some_and(|primary| primary.starts_over)
    {
        for at in 0..world.hosts.len() {
            go_back(world, at)?;
        }
    }
    Ok(())
}

/// An operator has the zone be what the primary has, though a newer serial was seen here.
fn go_back(world: &mut World, at: usize) -> Result<(), String> {
    let clock = world.clock(at);
    let serial = world.primary.as_ref().map(|primary| Serial(primary.serial));
    if let Some(machine) = world.ready(at) {
        let peer = &mut machine.wiring.peer;
        let held = peer.now().fed(&origin()).and_then(|fed| fed.serial);
        if held > serial {
            peer.refresh(&origin(), Order::Any, clock.wall, clock.now);
        }
    }
    world.drain(at)
}

fn tell(world: &mut World, at: usize) -> Result<(), String> {
    let clock = world.clock(at);
    if let Some(machine) = world.ready(at) {
        let client = machine.wiring.new_client();
        let address: IpAddr = ADDRESS.parse().expect("a good address");
        let sender = Sender::unsigned((address, 53).into());
        let peer = &mut machine.wiring.peer;
        peer.handle_update(client, notify(), sender, clock.wall, clock.now);
    }
    world.drain(at)
}

impl Primary {
    /// What it gives who asks.
    pub(crate) fn give(&self, ask: &Ask) -> Result<Brought, String> {
        let address: IpAddr = ADDRESS.parse().expect("a good address");
        if let Some((version, serial)) = &ask.published {
            return Ok(ask.take(address, version.clone(), *serial));
        }
        if !self.is_there {
            return Err("it is silent".to_owned());
        }
        let serial = Serial(self.serial);
        match &ask.held {
            Some((_, held)) if *held == serial => Ok(Brought::Nothing),
            Some((_, held)) if *held > serial && ask.order == Order::Ahead => {
                Err("it is behind".to_owned())
            }
            _ => Ok(ask.take(address, version(serial), serial)),
        }
    }

    /// True if this is what it has.
    pub(crate) fn has(&self, held: Option<&Version>) -> bool {
        held.is_some_and(|held| held.is_same_as(&version(Serial(self.serial))))
    }
}

pub(crate) fn origin() -> Name {
    requests::origin(200)
}

/// The zone at a serial: always the same content. Some records change with each, others seldom.
fn version(serial: Serial) -> Version {
    let Serial(number) = serial;
    let mut text =
        "@ 60 SOA ns hostmaster 1 5 2 86400 60\n@ 60 NS ns\nns 60 A 192.0.2.1\n".to_owned();
    for name in 1..6 {
        let value = number / name;
        text += &format!(
            "host{name} 60 A 10.2.{}.{}\n",
            value / 256 % 256,
            value % 256
        );
    }
    let value = number / MANY_EACH % 256;
    for name in 0..MANY {
        text += &format!("many{name} 60 TXT \"{value}, and some text that takes room\"\n");
    }
    let records = zone_text::read(&origin(), &text);
    Version::from_records(&origin(), &records).expect("all lie in the zone")
}

/// A NOTIFY of the zone (RFC 1996).
fn notify() -> Bytes {
    let header = [0, 7, 0x24, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    [&header[..], origin().as_wire(), &[0, 6, 0, 1]]
        .concat()
        .into()
}

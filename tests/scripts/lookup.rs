//! One server without sockets: zones in, questions in, answers out.
//!
//! Commands: `zone ORIGIN [serial=N]` with a zone file, `withdraw ORIGIN` (not published),
//! `policy update=PREFIX transfer=PREFIX`, `ask NAME TYPE`, `send HEX`, `update ORIGIN`,
//! `transfer ORIGIN AXFR|IXFR [serial=N]`, `says nsid=TEXT id=TEXT version=TEXT`,
//! `cookies secret=HEX [previous=HEX] [required]`, `counts`. Questions take the words `tcp`, `rd`,
//! `ad`, `cd`, `do`, `size`, `question`, `counted` (as what, by rate limiting) and the options
//! `edns=SIZE`, `version=N`, `options=HEX` (those of EDNS), `class=CLASS`, `from=ADDRESS`,
//! `wall=SECONDS`.

use dnsd::cookie::{Secret, Secrets};
use dnsd::policy::Realm;
use dnsd::serve::counters::COUNTS;
use dnsd::serve::rate::Subject;
use dnsd::serve::{Client, Outcome, Served, Setup, Spaces, Tally, Transport, serve, transfer};
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;
use tests::answer::Answer;
use tests::question::{AD, CD, Question, RD, UPDATE};
use tests::script::Command;
use zones::rtype::{Class, Rtype};
use zones::zone_set::{Shown, ZoneState};
use zones::{Name, Serial, Version};

/// What the script has set up so far.
#[derive(Default)]
pub(crate) struct Server {
    served: Served,
    setup: Setup,
    tally: Tally,
}

impl Server {
    pub(crate) fn run(&mut self, command: &Command) -> String {
        match command.name.as_str() {
            "zone" => self.zone(command),
            "withdraw" => self.withdraw(command),
            "policy" => self.policy(command),
            "ask" => self.send(command, &question(command).to_wire()),
            "send" => self.send(command, &bytes_of(&command.words[0])),
            "update" => {
                let mut update = question(command);
                update.flags |= UPDATE;
                self.send(command, &update.to_wire())
            }
            "transfer" => self.transfer(command),
            "says" => self.says(command),
            "cookies" => self.cookies(command),
            "counts" => self.counts(),
            other => panic!("no command is named {other}"),
        }
    }

    fn zone(&mut self, command: &Command) -> String {
        let origin = name(&command.words[0]);
        let records = tests::zone_text::read(&origin, &command.input);
        let version = Version::from_records(&origin, &records).expect("all are in the zone");
        let serial = command.option("serial").map_or(1, number) as u32;
        let state = ZoneState {
            now: version.clone(),
            shown: Some(Shown {
                version,
                serial: Serial(serial),
            }),
        };
        self.served.zones = self.served.zones.with(state);
        String::new()
    }

    fn withdraw(&mut self, command: &Command) -> String {
        let zone = self
            .served
            .zones
            .get(&name(&command.words[0]))
            .expect("it is there");
        let state = ZoneState {
            shown: None,
            ..zone.clone()
        };
        self.served.zones = self.served.zones.with(state);
        String::new()
    }

    fn policy(&mut self, command: &Command) -> String {
        let rules = ["update", "transfer"].into_iter().filter_map(|action| {
            let rule = format!("{action} from {}", command.option(action)?);
            Some((Realm::All, rule.parse().expect("a prefix")))
        });
        self.served.policy = Arc::new(rules.collect());
        String::new()
    }

    fn says(&mut self, command: &Command) -> String {
        let text = |key| command.option(key).map(Into::into);
        self.setup.nsid = text("nsid");
        self.setup.chaos.id = text("id");
        self.setup.chaos.version = text("version");
        String::new()
    }

    fn cookies(&mut self, command: &Command) -> String {
        let secret = |key| {
            let bytes = bytes_of(command.option(key)?);
            Some(Secret(bytes.try_into().expect("16 bytes")))
        };
        self.served.cookies = secret("secret").map(Secrets::new);
        if let Some(previous) = secret("previous") {
            let current = secret("secret").expect("a current one");
            self.served.cookies = Some(Secrets::new(previous).stage(current).switch());
        }
        self.setup.requires_server_cookie = command.has("required");
        String::new()
    }

    fn send(&mut self, command: &Command, request: &[u8]) -> String {
        let client = client(command);
        let mut response = Vec::new();
        let handled = serve(
            request,
            &client,
            &self.served,
            &self.setup,
            &mut Spaces::default(),
            &mut response,
        );
        self.tally
            .add_request(client.transport, request, handled, &response);
        if !matches!(handled.outcome, Outcome::Respond(_)) {
            return format!("{:?}", handled.outcome);
        }
        let answer = match Answer::read(&response) {
            Ok(answer) => answer,
            Err(error) => return format!("{error}: {response:02x?}"),
        };
        assert_eq!(answer.id.to_be_bytes(), request[..2]);
        let mut output = answer.to_string();
        if command.has("counted") {
            let Subject { kind, name_at } = handled.subject;
            let name =
                Name::from_wire(&request[usize::from(name_at)..]).expect("a part of the QNAME");
            let _ = writeln!(output, "{kind:?} {name}");
        }
        if command.has("question") {
            let question = answer.question.unwrap_or_else(|| "no question".to_owned());
            let _ = writeln!(output, "{question}");
        }
        if command.has("size") {
            let _ = writeln!(output, "{} bytes", response.len());
        }
        output
    }

    fn transfer(&mut self, command: &Command) -> String {
        let request = question(command).to_wire();
        let client = client(command);
        let mut response = Vec::new();
        let handled = serve(
            &request,
            &client,
            &self.served,
            &self.setup,
            &mut Spaces::default(),
            &mut response,
        );
        if handled.outcome != Outcome::Transfer {
            return self.send(command, &request);
        }
        let mut output = String::new();
        let messages = transfer::messages(&request, &client, &self.served, &self.setup);
        let mut messages = messages.expect("it was admitted");
        while let Some(message) = messages.next_message(client.wall) {
            let message = message.expect("no record is too large");
            let answer = Answer::read(&message).expect("it is well formed");
            output += &answer.to_string();
        }
        output
    }

    fn counts(&mut self) -> String {
        let mut output = String::new();
        for (count, name) in COUNTS {
            if self.tally.get(count) > 0 {
                let _ = writeln!(output, "{name} {}", self.tally.get(count));
            }
        }
        for (opcode, n) in self.tally.opcodes() {
            let _ = writeln!(output, "opcode {} {n}", opcode.0);
        }
        for (rcode, n) in self.tally.rcodes() {
            let _ = writeln!(output, "rcode {rcode} {n}");
        }
        output
    }
}

fn question(command: &Command) -> Question {
    let qtype = command.words.get(1).map_or("SOA", String::as_str);
    let mut question = Question::new(name(&command.words[0]), qtype.parse().unwrap_or(Rtype::SOA));
    if let Some(class) = command.option("class") {
        question.qclass = Class(number(class) as u16);
    }
    for (word, flag) in [("rd", RD), ("ad", AD), ("cd", CD)] {
        if command.has(word) {
            question.flags |= flag;
        }
    }
    question.serial = command.option("serial").map(|serial| number(serial) as u32);
    let flags = if command.has("do") { 0x8000 } else { 0 };
    let version = command.option("version").map_or(0, number) as u8;
    question.edns = command
        .option("edns")
        .map(|size| (number(size) as u16, version, flags));
    question.options = command.option("options").map_or_else(Vec::new, bytes_of);
    question
}

fn client(command: &Command) -> Client {
    let is_tcp = command.has("tcp") || command.name == "transfer" && !command.has("udp");
    Client {
        address: format!("{}:4000", command.option("from").unwrap_or("192.0.2.99"))
            .parse()
            .expect("an address"),
        transport: if is_tcp {
            Transport::Tcp
        } else {
            Transport::Udp
        },
        wall: Duration::from_secs(command.option("wall").map_or(0, number)),
        timeout_idle: Duration::from_secs(10),
        identity: None,
    }
}

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn number(text: &str) -> u64 {
    text.parse().expect("a number")
}

fn bytes_of(hex: &str) -> Vec<u8> {
    assert!(hex.len().is_multiple_of(2), "whole bytes");
    let byte = |i| u8::from_str_radix(&hex[i..i + 2], 16).expect("hex digits");
    (0..hex.len()).step_by(2).map(byte).collect()
}

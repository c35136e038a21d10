//! Strings: OSC, which are looked at and passed on, and DCS, APC, PM and SOS, which the model never sees.

use memchr::{memchr, memchr3};

use super::queries::{Osc, classify_osc, osc_is_too_long};
use super::{
    BEL, CAN, CLIPBOARD_LIMIT, DcsHeader, DcsStep, ESC, End, Ending, Item, Kind, Pass, Query,
    REQUEST_LIMIT, Request, ST, ST_8BIT, SUB, State,
};

impl Pass<'_, '_, '_> {
    // OSC strings.

    pub(super) fn osc(&mut self, at: usize) -> usize {
        let data = self.data;
        let found = string_end(&data[at..], BEL);
        let to = found.map_or(data.len(), |n| at + n);
        if self.holding {
            let room = (CLIPBOARD_LIMIT + 1).saturating_sub(self.scanner.held.len());
            self.scanner
                .held
                .extend_from_slice(&data[at..to.min(at.saturating_add(room))]);
            self.run = to;
        }
        if osc_is_too_long(self.sequence(to)) {
            self.withhold(to);
            self.scanner.state = State::OscRest;
            return to;
        }
        let Some(&terminator) = data.get(to) else {
            return to;
        };
        self.keep(to);
        match terminator {
            BEL => self.osc_final(to + 1, End::Bel),
            ESC => self.scanner.state = State::Ending(Ending::Osc),
            _ => self.osc_final(to + 1, End::Cancelled),
        }
        to + 1
    }

    fn osc_final(&mut self, to: usize, end: End) {
        let sequence = self.sequence(to);
        let content = &sequence[2..sequence.len() - end.len()];
        match classify_osc(content, end) {
            Osc::Pass if end == End::Escaped => self.close_osc(to),
            Osc::Pass => self.pass(to),
            Osc::Event(kind) => {
                let raw = sequence.to_vec();
                self.withhold_osc(to, end);
                if end.terminator().is_some() {
                    self.emit(to, Item::Event(kind, raw));
                }
            }
            Osc::Colours { queries, rest } => {
                self.withhold_osc(to, end);
                if end.terminator().is_some() {
                    for query in queries {
                        self.emit(to, Item::Query(query));
                    }
                }
                if !rest.is_empty() {
                    self.emit(to, Item::Owned(rest));
                }
            }
        }
    }

    fn withhold_osc(&mut self, to: usize, end: End) {
        let control = usize::from(end == End::Cancelled);
        self.withhold(to - control);
    }

    /// Pass on an OSC that a new sequence ended, with a terminator that leaves the model at ground.
    fn close_osc(&mut self, to: usize) {
        self.hold(to);
        self.scanner.held.pop();
        self.scanner.held.extend_from_slice(ST);
        self.pass(to);
    }

    pub(super) fn osc_rest(&mut self, at: usize) -> usize {
        let Some(found) = string_end(&self.data[at..], BEL) else {
            return self.swallow(self.data.len(), State::OscRest);
        };
        self.string_control(at + found)
    }

    // Strings that the model never sees.

    /// The control at `at` ends a string, or does so once a backslash follows.
    fn string_control(&mut self, at: usize) -> usize {
        match self.data[at] {
            ESC => {
                let request = match self.scanner.state {
                    State::DcsData(request) => request,
                    _ => Request::None,
                };
                self.swallow(at + 1, State::Ending(Ending::Request(request)))
            }
            BEL | ST_8BIT => self.swallow(at + 1, State::Ground),
            _ => {
                self.swallow(at, State::Ground);
                at + 1
            }
        }
    }

    pub(super) fn dcs_header(&mut self, at: usize, mut header: DcsHeader) -> usize {
        let byte = self.data[at];
        let to = at + 1;
        match (header.step, byte) {
            (_, CAN | SUB | ESC) => return self.string_control(at),
            (_, 0x40..=0x7e) => return self.dcs_final(to, &header, byte),
            (_, 0x20..=0x2f) => {
                header.collect(byte);
                header.step = DcsStep::Intermediates;
            }
            (DcsStep::Entry, 0x3c..=0x3f) => {
                header.collect(byte);
                header.step = DcsStep::Parameters;
            }
            (DcsStep::Entry | DcsStep::Parameters, 0x30..=0x3b) => {
                header.step = DcsStep::Parameters;
            }
            (_, 0x30..=0x3f) => return self.swallow(to, State::Opaque),
            _ => {}
        }
        self.swallow(to, State::DcsHeader(header))
    }

    fn dcs_final(&mut self, to: usize, header: &DcsHeader, byte: u8) -> usize {
        let request = match (header.collected(), byte) {
            (b"$", b'q') => Request::Setting,
            (b"+", b'q') => Request::Capability,
            _ => Request::None,
        };
        if header.count == 0 && byte == b'q' {
            self.emit(to, Item::Event(Kind::Graphics, Vec::new()));
        }
        self.scanner.clear_held();
        self.swallow(to, State::DcsData(request))
    }

    pub(super) fn dcs_data(&mut self, at: usize, request: Request) -> usize {
        let data = self.data;
        let found = string_end(&data[at..], ST_8BIT);
        let to = found.map_or(data.len(), |n| at + n);
        let mut request = request;
        if request != Request::None {
            let held = &mut self.scanner.held;
            let room = REQUEST_LIMIT + 1 - held.len();
            held.extend(data[at..to].iter().filter(|b| **b < 0x7f).take(room));
            if held.len() > REQUEST_LIMIT {
                request = Request::None;
                self.scanner.clear_held();
            }
        }
        self.swallow(to, State::DcsData(request));
        match data.get(to) {
            None => to,
            Some(&ST_8BIT) => {
                self.request_final(to + 1, request);
                to + 1
            }
            Some(_) => self.string_control(to),
        }
    }

    fn request_final(&mut self, to: usize, request: Request) {
        self.swallow(to, State::Ground);
        let asked = self.scanner.take_held();
        match request {
            Request::None => {}
            Request::Setting => self.emit(to, Item::Query(Query::Setting(asked))),
            Request::Capability => self.emit(to, Item::Query(Query::Capability(asked))),
        }
    }

    pub(super) fn apc(&mut self, at: usize) -> usize {
        self.scanner.state = State::Opaque;
        if self.data[at] == b'G' {
            self.emit(at + 1, Item::Event(Kind::Graphics, Vec::new()));
        }
        at
    }

    pub(super) fn opaque(&mut self, at: usize) -> usize {
        match memchr3(CAN, SUB, ESC, &self.data[at..]) {
            Some(found) => self.string_control(at + found),
            None => self.swallow(self.data.len(), State::Opaque),
        }
    }

    pub(super) fn ending(&mut self, at: usize, ending: Ending) -> usize {
        if self.data[at] == b'\\' {
            match ending {
                Ending::Osc => {
                    self.keep(at);
                    self.osc_final(at + 1, End::St);
                }
                Ending::Request(request) => self.request_final(at + 1, request),
            }
            return at + 1;
        }
        if ending == Ending::Osc {
            self.osc_final(at, End::Escaped);
        }
        self.scanner.clear_held();
        self.scanner.held.push(ESC);
        self.holding = true;
        self.scanner.begin = self.base + at as u64 - 1;
        self.swallow(at, State::Escape)
    }
}

impl DcsHeader {
    fn collect(&mut self, byte: u8) {
        if let Some(slot) = self.collected.get_mut(usize::from(self.count)) {
            *slot = byte;
        }
        self.count = self.count.saturating_add(1);
    }

    fn collected(&self) -> &[u8] {
        self.collected
            .get(..usize::from(self.count))
            .unwrap_or_default()
    }
}

/// The first CAN, SUB, ESC or `other`.
fn string_end(data: &[u8], other: u8) -> Option<usize> {
    // ESC must follow before another string can open, so no byte is looked at again and again.
    let controls = memchr3(CAN, SUB, ESC, data);
    memchr(other, &data[..controls.unwrap_or(data.len())]).or(controls)
}

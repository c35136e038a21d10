//! Where sequences of a terminal's output begin and end, and what the screen model may see of them.
//!
//! The states are those of Paul Williams' parser (<https://vt100.net/emu/dec_ansi_parser>) with the
//! borders that `vte` 0.15 draws: only ESC opens a sequence (C1 controls, as bytes 80…9F or as UTF-8, are
//! text to this scanner), C0 controls inside a sequence act at once, CAN, SUB and ESC end every string,
//! BEL ends OSC, the byte 9C ends a DCS whose final byte has been read.
//!
//! What is passed on never leaves the model's parser inside a sequence: unfinished sequences and UTF-8
//! characters wait here, within bounds, until their end is known. Hence a sequence may be withheld
//! without any trace, and `vte`, which loses bytes when a character is cut between two calls, gets no cuts.

mod queries;
mod strings;

use memchr::memchr2;

use queries::{Csi, classify_csi, fewer_repetitions};

const BEL: u8 = 0x07;
const CAN: u8 = 0x18;
const SUB: u8 = 0x1a;
const ESC: u8 = 0x1b;
const ST_8BIT: u8 = 0x9c;
const ST: &[u8] = b"\x1b\\";
const REPLACEMENT: &[u8] = "\u{fffd}".as_bytes();

/// Longest escape or CSI sequence that is looked at; 32 parameters of five digits need 195 bytes.
const SEQUENCE_LIMIT: usize = 256;
/// Longest OSC string passed on.
const OSC_LIMIT: usize = 64 << 10;
/// Longest OSC 52 (clipboard) string reported.
const CLIPBOARD_LIMIT: usize = 1 << 20;
/// Longest DECRQSS or XTGETTCAP request that is answered.
const REQUEST_LIMIT: usize = 4 << 10;
/// A held buffer larger than this is given back when its sequence is done.
const KEPT_CAPACITY: usize = 4 << 10;

/// One thing found in the output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item<'a> {
    /// For the model: a piece of the bytes given to this call.
    Text(&'a [u8]),
    /// For the model: a sequence or character that was cut between calls, or that was rewritten.
    Owned(Vec<u8>),
    /// The application asks; the model does not see it.
    Query(Query),
    /// Something to be told once. The data is the raw sequence of `Clipboard`, `Notify` and `Bell`.
    Event(Kind, Vec<u8>),
}

/// What an event tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// OSC 52.
    Clipboard,
    /// OSC 9, 99 or 777.
    Notify,
    /// BEL outside of strings.
    Bell,
    /// A sixel or kitty graphics string has begun.
    Graphics,
    /// CSI 3 J.
    ClearHistory,
    /// CSI ! p (DECSTR), which `vte` does not know.
    SoftReset,
    /// CSI ? 2026 h; told again when it is repeated.
    SyncOpened,
    /// CSI ? 2026 l, also when nothing was open; RIS when something was.
    SyncClosed,
}

/// What an application can ask of its terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Query {
    /// DA1, DECID.
    PrimaryAttributes,
    /// DA2.
    SecondaryAttributes,
    /// DA3.
    TertiaryAttributes,
    /// DSR 5.
    Status,
    /// DSR 6.
    CursorPosition {
        /// With `?` (DECXCPR).
        private: bool,
    },
    /// DECRQM.
    Mode {
        /// With `?` (a DEC mode).
        private: bool,
        /// The mode.
        number: u16,
    },
    /// DECRQSS, with what it asks for.
    Setting(Vec<u8>),
    /// XTVERSION.
    Version,
    /// OSC 10…19 or OSC 4 with `?`.
    Colour {
        /// 10…19, or 0x1000 plus the palette's index.
        number: u16,
        /// BEL or ST, as the question ended.
        terminator: &'static [u8],
    },
    /// CSI ? u.
    KittyFlags,
    /// CSI 14 t.
    WindowPixels,
    /// CSI 16 t.
    CellPixels,
    /// CSI 18 t.
    WindowCells,
    /// XTGETTCAP, with the names asked for (hexadecimal, `;` between them).
    Capability(Vec<u8>),
    /// CSI ? 4 m.
    OtherKeys,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ground,
    /// `held` is the start of a UTF-8 character.
    Utf8,
    /// ESC and perhaps intermediates.
    Escape,
    Csi,
    /// An escape (or CSI) sequence beyond the limit, dropped up to its final byte.
    Overlong {
        csi: bool,
    },
    Osc,
    /// A dropped OSC.
    OscRest,
    DcsHeader(DcsHeader),
    /// Behind the final byte of a DCS; the data of a request gathers in `held`.
    DcsData(Request),
    /// The first byte of an APC string is to come.
    Apc,
    /// SOS, PM, APC, or a DCS with a broken header.
    Opaque,
    /// ESC was read inside a string: a backslash makes it ST.
    Ending(Ending),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct DcsHeader {
    step: DcsStep,
    collected: [u8; 2],
    count: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum DcsStep {
    #[default]
    Entry,
    Parameters,
    Intermediates,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Request {
    None,
    Setting,
    Capability,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Osc,
    Request(Request),
}

/// How an OSC string came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Bel,
    St,
    /// CAN or SUB, which is the last byte of the sequence.
    Cancelled,
    /// An ESC that opens another sequence; it is the last byte of this one all the same.
    Escaped,
}

impl End {
    fn terminator(self) -> Option<&'static [u8]> {
        match self {
            Self::Bel => Some(b"\x07"),
            Self::St => Some(ST),
            Self::Cancelled | Self::Escaped => None,
        }
    }

    fn len(self) -> usize {
        self.terminator().map_or(1, <[u8]>::len)
    }
}

/// Finds sequences in output that arrives in arbitrary pieces.
///
/// Where the output is cut makes no difference to the items, but for how text is divided.
#[derive(Debug)]
pub(crate) struct Scanner {
    state: State,
    offset: u64,
    /// Where the open sequence or character began.
    begin: u64,
    held: Vec<u8>,
    sync_open: bool,
    /// Rows and columns of the screen.
    size: (usize, usize),
}

impl Default for Scanner {
    fn default() -> Self {
        Self::new()
    }
}

impl Scanner {
    /// A scanner at offset 0 and at ground.
    pub(crate) fn new() -> Self {
        Self {
            state: State::Ground,
            offset: 0,
            begin: 0,
            held: Vec::new(),
            sync_open: false,
            size: (0, 0),
        }
    }

    /// The screen's size: what repeating a character (REP) more often than it has cells comes to.
    pub(crate) fn set_size(&mut self, rows: usize, cols: usize) {
        self.size = (rows, cols);
    }

    /// Go through the next bytes; `sink` gets every item with the offset just behind it.
    pub(crate) fn scan<'a>(&mut self, data: &'a [u8], sink: &mut dyn FnMut(u64, Item<'a>)) {
        let holding = self.keeps_sequence();
        let mut pass = Pass {
            base: self.offset,
            scanner: self,
            data,
            run: 0,
            start: 0,
            holding,
            sink,
        };
        pass.drain();
        self.offset += data.len() as u64;
    }

    /// Bytes seen so far.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Count bytes that are known to leave the scanner at ground, where it is.
    pub(crate) fn pass(&mut self, count: usize) {
        self.offset += count as u64;
    }

    /// Count on from `offset`, at ground, with no synchronized update open.
    pub(crate) fn skip_to(&mut self, offset: u64) {
        *self = Self::new();
        self.offset = offset;
    }

    /// Where the sequence or UTF-8 character that is still open began; `offset()` at ground.
    pub(crate) fn boundary(&self) -> u64 {
        match self.state {
            State::Ground => self.offset,
            _ => self.begin,
        }
    }

    /// Whether an OSC, DCS, APC, PM or SOS string is open.
    pub(crate) fn in_string(&self) -> bool {
        match self.state {
            State::Ground | State::Utf8 | State::Escape | State::Csi | State::Overlong { .. } => {
                false
            }
            State::Osc
            | State::OscRest
            | State::DcsHeader(_)
            | State::DcsData(_)
            | State::Apc
            | State::Opaque
            | State::Ending(_) => true,
        }
    }

    /// Whether CSI ? 2026 h was last seen without its `l`.
    pub(crate) fn sync_open(&self) -> bool {
        self.sync_open
    }

    /// Whether the bytes of the open sequence must be at hand when it ends.
    fn keeps_sequence(&self) -> bool {
        matches!(
            self.state,
            State::Escape
                | State::Csi
                | State::Overlong { .. }
                | State::Osc
                | State::Ending(Ending::Osc)
        )
    }

    fn take_held(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }

    fn clear_held(&mut self) {
        self.held.clear();
        if self.held.capacity() > KEPT_CAPACITY {
            self.held = Vec::new();
        }
    }
}

/// One call of `scan`. All indices are into `data`.
struct Pass<'s, 'a, 'k> {
    scanner: &'s mut Scanner,
    data: &'a [u8],
    /// Offset of `data[0]`.
    base: u64,
    /// Start of what is to be passed on but has not been yet.
    run: usize,
    /// Start of the open sequence, unless it is held.
    start: usize,
    /// The open sequence so far is `held`, and `run` follows the reading.
    holding: bool,
    sink: &'k mut dyn FnMut(u64, Item<'a>),
}

impl<'a> Pass<'_, 'a, '_> {
    fn drain(&mut self) {
        let len = self.data.len();
        let mut at = 0;
        while at < len {
            at = self.step(at);
        }
        if self.scanner.keeps_sequence() {
            self.hold(len);
        } else {
            self.flush(len);
        }
    }

    /// Read on from `at`; the index behind what was read. Where it is `at` again the state has changed.
    fn step(&mut self, at: usize) -> usize {
        match self.scanner.state {
            State::Ground => self.ground(at),
            State::Utf8 => self.utf8(at),
            State::Csi if !self.holding => self.csi_parameters(at),
            State::Escape | State::Csi | State::Overlong { .. } => self.sequence_byte(at),
            State::Osc => self.osc(at),
            State::OscRest => self.osc_rest(at),
            State::DcsHeader(header) => self.dcs_header(at, header),
            State::DcsData(request) => self.dcs_data(at, request),
            State::Apc => self.apc(at),
            State::Opaque => self.opaque(at),
            State::Ending(ending) => self.ending(at, ending),
        }
    }

    // What is passed on.

    fn emit(&mut self, behind: usize, item: Item<'a>) {
        (self.sink)(self.base + behind as u64, item);
    }

    /// Pass on what is due before `to`.
    fn flush(&mut self, to: usize) {
        if self.run < to {
            self.emit(to, Item::Text(&self.data[self.run..to]));
        }
        self.run = to;
    }

    fn open(&mut self, at: usize) {
        self.start = at;
        self.holding = false;
        self.scanner.begin = self.base + at as u64;
        self.scanner.state = State::Escape;
    }

    /// Move the open sequence, which reaches up to `to`, into `held`.
    fn hold(&mut self, to: usize) {
        if !self.holding {
            self.flush(self.start);
            self.scanner.clear_held();
            self.scanner
                .held
                .extend_from_slice(&self.data[self.start..to]);
            self.holding = true;
        }
        self.run = to;
    }

    /// Take the byte at `at` into the open sequence.
    fn keep(&mut self, at: usize) {
        if self.holding {
            self.scanner.held.push(self.data[at]);
            self.run = at + 1;
        }
    }

    fn sequence(&self, to: usize) -> &[u8] {
        if self.holding {
            &self.scanner.held
        } else {
            &self.data[self.start..to]
        }
    }

    /// The sequence that ends before `to` goes to the model.
    fn pass(&mut self, to: usize) {
        if self.holding {
            let sequence = self.scanner.take_held();
            self.emit(to, Item::Owned(sequence));
            self.holding = false;
        }
        self.scanner.state = State::Ground;
    }

    /// Nothing of the open sequence goes to the model; go on at ground with `resume`.
    fn withhold(&mut self, resume: usize) {
        if !self.holding {
            self.flush(self.start);
        }
        self.scanner.clear_held();
        self.holding = false;
        self.run = resume;
        self.scanner.state = State::Ground;
    }

    /// The byte at `at` belongs to a string of which nothing is passed on.
    fn swallow(&mut self, to: usize, state: State) -> usize {
        self.run = to;
        self.scanner.state = state;
        to
    }

    fn bell(&mut self, at: usize) {
        self.flush(at);
        self.run = at + 1;
        self.emit(at + 1, Item::Event(Kind::Bell, vec![BEL]));
    }

    // Text.

    fn ground(&mut self, at: usize) -> usize {
        let data = self.data;
        let found = memchr2(ESC, BEL, &data[at..]);
        let end = found.map_or(data.len(), |n| at + n);
        let cut = unfinished_character(&data[at..end]);
        if found.is_none() {
            if cut > 0 {
                self.open(end - cut);
                self.hold(end);
                self.holding = false;
                self.scanner.state = State::Utf8;
            }
            return end;
        }
        if cut > 0 {
            // The control may be withheld, and what follows it must not complete the character.
            self.flush(end - cut);
            self.emit(end, Item::Owned(REPLACEMENT.to_vec()));
            self.run = end;
        }
        if data[end] == ESC {
            self.open(end);
        } else {
            self.bell(end);
        }
        end + 1
    }

    fn utf8(&mut self, at: usize) -> usize {
        let byte = self.data[at];
        self.scanner.held.push(byte);
        match std::str::from_utf8(&self.scanner.held) {
            Ok(_) => {
                let character = self.scanner.take_held();
                self.emit(at + 1, Item::Owned(character));
                self.swallow(at + 1, State::Ground)
            }
            Err(error) if error.error_len().is_none() => self.swallow(at + 1, State::Utf8),
            Err(_) => {
                let mut broken = self.scanner.take_held();
                broken.pop();
                if matches!(byte, ESC | BEL) {
                    broken = REPLACEMENT.to_vec();
                }
                self.emit(at, Item::Owned(broken));
                self.swallow(at, State::Ground)
            }
        }
    }

    // Escape and CSI sequences.

    /// Skip the parameters of a sequence that lies within this call; all else is byte by byte.
    fn csi_parameters(&mut self, at: usize) -> usize {
        let room = (self.start + SEQUENCE_LIMIT - 1).min(self.data.len());
        let rest = self.data.get(at..room).unwrap_or_default();
        let skipped = rest.iter().take_while(|byte| matches!(byte, 0x20..=0x3f));
        match skipped.count() {
            0 => self.sequence_byte(at),
            count => at + count,
        }
    }

    fn sequence_byte(&mut self, at: usize) -> usize {
        match self.data[at] {
            CAN | SUB => self.withhold(at),
            ESC => {
                self.withhold(at);
                self.open(at);
            }
            BEL => {
                self.hold(at);
                self.bell(at);
            }
            // Acts at once, that is, before the sequence which it interrupts.
            0x00..=0x1f => {
                self.hold(at);
                self.flush(at + 1);
            }
            0x7f..=0xff => {
                self.hold(at);
                self.run = at + 1;
            }
            byte => self.sequence_character(at, byte),
        }
        at + 1
    }

    fn sequence_character(&mut self, at: usize, byte: u8) {
        match (self.scanner.state, byte) {
            (State::Overlong { csi: true }, 0x40..) | (State::Overlong { csi: false }, 0x30..) => {
                self.withhold(at + 1)
            }
            (State::Overlong { .. }, _) => self.run = at + 1,
            (State::Escape, 0x30..) => self.escape_final(at, byte),
            (State::Csi, 0x40..) => self.csi_final(at),
            (state, _) => {
                self.keep(at);
                if self.sequence(at + 1).len() >= SEQUENCE_LIMIT {
                    self.withhold(at + 1);
                    self.holding = true;
                    self.scanner.state = State::Overlong {
                        csi: state == State::Csi,
                    };
                }
            }
        }
    }

    fn escape_final(&mut self, at: usize, byte: u8) {
        let alone = self.sequence(at).len() == 1;
        let string = match byte {
            b'P' => Some(State::DcsHeader(DcsHeader::default())),
            b'_' => Some(State::Apc),
            b'X' | b'^' => Some(State::Opaque),
            _ => None,
        };
        match (alone, byte, string) {
            (true, _, Some(state)) => {
                self.withhold(at + 1);
                self.scanner.state = state;
            }
            (true, b'[', _) => {
                self.keep(at);
                self.scanner.state = State::Csi;
            }
            (true, b']', _) => {
                self.keep(at);
                self.scanner.state = State::Osc;
            }
            (true, b'Z', _) => self.query(at + 1, Query::PrimaryAttributes),
            _ => {
                self.keep(at);
                self.pass(at + 1);
                if alone && byte == b'c' && self.scanner.sync_open {
                    self.flush(at + 1);
                    self.sync(at + 1, false);
                }
            }
        }
    }

    fn csi_final(&mut self, at: usize) {
        self.keep(at);
        let to = at + 1;
        if let Some(fewer) = fewer_repetitions(self.sequence(to), self.scanner.size) {
            self.withhold(to);
            self.emit(to, Item::Owned(format!("\x1b[{fewer}b").into_bytes()));
            return;
        }
        match classify_csi(self.sequence(to)) {
            Csi::Pass => self.pass(to),
            Csi::Query(query) => self.query(to, query),
            Csi::Event(kind) => {
                self.withhold(to);
                self.emit(to, Item::Event(kind, Vec::new()));
            }
            Csi::Sync { open, rest } => {
                self.withhold(to);
                if !rest.is_empty() {
                    self.emit(to, Item::Owned(rest));
                }
                self.sync(to, open);
            }
        }
    }

    fn query(&mut self, to: usize, query: Query) {
        self.withhold(to);
        self.emit(to, Item::Query(query));
    }

    fn sync(&mut self, to: usize, open: bool) {
        self.scanner.sync_open = open;
        let kind = if open {
            Kind::SyncOpened
        } else {
            Kind::SyncClosed
        };
        self.emit(to, Item::Event(kind, Vec::new()));
    }
}

/// How many bytes at the end are the beginning of a UTF-8 character that could still be completed.
fn unfinished_character(text: &[u8]) -> usize {
    let tail = &text[text.len().saturating_sub(3)..];
    let Some(lead) = tail.iter().rposition(|byte| !(0x80..0xc0).contains(byte)) else {
        return 0;
    };
    match std::str::from_utf8(&tail[lead..]) {
        Err(error) if error.valid_up_to() == 0 && error.error_len().is_none() => tail.len() - lead,
        _ => 0,
    }
}

#[cfg(test)]
#[path = "scanner_tests.rs"]
mod tests;

//! What a whole sequence is to the scanner: text for the model, a query, an event, or a limit that it exceeds.

use super::{CLIPBOARD_LIMIT, End, Kind, OSC_LIMIT, Query, ST};

/// Characters that one REP may write, whatever the size.
const REPEAT_LIMIT: usize = 4096;
/// As many parameters as `vte` takes; a sequence with more of them has no effect there.
const PARAMETERS: usize = 32;

pub(super) enum Csi {
    Pass,
    Query(Query),
    Event(Kind),
    Sync { open: bool, rest: Vec<u8> },
}

/// What a whole CSI sequence (without anything that interrupted it) is to this scanner.
pub(super) fn classify_csi(sequence: &[u8]) -> Csi {
    let [_, _, body @ .., action] = sequence else {
        return Csi::Pass;
    };
    match action {
        b'J' | b'c' | b'n' | b'p' | b'q' | b't' => {}
        b'h' | b'l' | b'm' | b'u' if body.first() == Some(&b'?') => {}
        _ => return Csi::Pass,
    }
    let Some(csi) = Parameters::parse(body) else {
        return Csi::Pass;
    };
    let private = csi.marker == b'?';
    let query = match (action, csi.marker, csi.intermediate, csi.first()) {
        (b'J', 0, 0, 3) => return Csi::Event(Kind::ClearHistory),
        (b'p', 0, b'!', _) => return Csi::Event(Kind::SoftReset),
        (b'h' | b'l', b'?', 0, _) => return csi.without_sync(*action),
        (b'c', 0, 0, 0) => Query::PrimaryAttributes,
        (b'c', b'>', 0, 0) => Query::SecondaryAttributes,
        (b'c', b'=', 0, 0) => Query::TertiaryAttributes,
        (b'n', 0, 0, 5) => Query::Status,
        (b'n', 0 | b'?', 0, 6) => Query::CursorPosition { private },
        (b'p', 0 | b'?', b'$', number) => Query::Mode { private, number },
        (b'q', b'>', 0, 0) => Query::Version,
        (b't', 0, 0, 14) => Query::WindowPixels,
        (b't', 0, 0, 16) => Query::CellPixels,
        (b't', 0, 0, 18) => Query::WindowCells,
        (b'u', b'?', 0, _) => Query::KittyFlags,
        (b'm', b'?', 0, 4) => Query::OtherKeys,
        _ => return Csi::Pass,
    };
    Csi::Query(query)
}

/// A REP (`CSI n b`) of more characters than fill the screen (or `REPEAT_LIMIT`), which would cost milliseconds for 8 bytes:
/// a smaller number that ends in the same column.
pub(super) fn fewer_repetitions(sequence: &[u8], (rows, cols): (usize, usize)) -> Option<usize> {
    let [0x1b, b'[', body @ .., b'b'] = sequence else {
        return None;
    };
    let parameters = Parameters::parse(body)?;
    let wanted = usize::from(parameters.first());
    let enough = (rows * cols).min(REPEAT_LIMIT).max(2 * cols);
    if parameters.marker != 0
        || parameters.intermediate != 0
        || cols == 0
        || wanted <= enough + cols
    {
        return None;
    }
    Some(enough + (wanted - enough) % cols)
}

/// What stands between the introducer and the final byte of a CSI sequence.
struct Parameters {
    /// `<`, `=`, `>`, `?` or 0.
    marker: u8,
    /// 0 for none.
    intermediate: u8,
    /// The first subparameter of each.
    values: [u16; PARAMETERS],
    count: usize,
}

impl Parameters {
    /// None where `vte` ignores the sequence, or for more intermediates than any query has.
    fn parse(body: &[u8]) -> Option<Self> {
        let (marker, rest) = match body {
            [marker @ 0x3c..=0x3f, rest @ ..] => (*marker, rest),
            _ => (0, body),
        };
        let digits = rest
            .iter()
            .position(|byte| *byte < b'0')
            .unwrap_or(rest.len());
        let (numbers, intermediates) = rest.split_at(digits);
        let intermediate = match intermediates {
            [] => 0,
            [one] => *one,
            _ => return None,
        };
        let mut parsed = Self {
            marker,
            intermediate,
            values: [0; PARAMETERS],
            count: 0,
        };
        parsed.read(numbers).then_some(parsed)
    }

    fn read(&mut self, numbers: &[u8]) -> bool {
        let mut seen = 0;
        for group in numbers.split(|byte| *byte == b';') {
            for (n, number) in group.split(|byte| *byte == b':').enumerate() {
                seen += 1;
                if seen > PARAMETERS || number.iter().any(|byte| !byte.is_ascii_digit()) {
                    return false;
                }
                if n == 0 {
                    self.values[self.count] = decimal(number);
                    self.count += 1;
                }
            }
        }
        true
    }

    fn first(&self) -> u16 {
        self.values[0]
    }

    /// A DECSET or DECRST with mode 2026 taken out.
    fn without_sync(&self, action: u8) -> Csi {
        let modes = &self.values[..self.count];
        if !modes.contains(&2026) {
            return Csi::Pass;
        }
        let others: Vec<String> = modes
            .iter()
            .filter(|mode| **mode != 2026)
            .map(u16::to_string)
            .collect();
        let mut rest = Vec::new();
        if !others.is_empty() {
            rest.extend_from_slice(b"\x1b[?");
            rest.extend_from_slice(others.join(";").as_bytes());
            rest.push(action);
        }
        Csi::Sync {
            open: action == b'h',
            rest,
        }
    }
}

/// A number of decimal digits, none being 0; beyond 65535 it stays there, as in `vte`.
fn decimal(digits: &[u8]) -> u16 {
    digits.iter().fold(0u16, |value, digit| {
        value
            .saturating_mul(10)
            .saturating_add(u16::from(digit - b'0'))
    })
}

pub(super) enum Osc {
    Pass,
    Event(Kind),
    Colours { queries: Vec<Query>, rest: Vec<u8> },
}

/// `sequence` begins with ESC ] and has no terminator yet.
pub(super) fn osc_is_too_long(sequence: &[u8]) -> bool {
    if sequence.len() <= OSC_LIMIT {
        return false;
    }
    sequence.len() > CLIPBOARD_LIMIT || osc_number(&sequence[2..OSC_LIMIT]) != Some(52)
}

/// The command, if it is a number; controls within OSC strings count for nothing.
fn osc_number(content: &[u8]) -> Option<u16> {
    let mut number: Option<u16> = None;
    for byte in content.iter().filter(|byte| **byte >= 0x20) {
        match byte {
            b'0'..=b'9' => {
                let value = number.unwrap_or(0).saturating_mul(10);
                number = Some(value.saturating_add(u16::from(byte - b'0')));
            }
            b';' => break,
            _ => return None,
        }
    }
    number
}

pub(super) fn classify_osc(content: &[u8], end: End) -> Osc {
    match osc_number(content) {
        Some(52) => Osc::Event(Kind::Clipboard),
        Some(9 | 99 | 777) => Osc::Event(Kind::Notify),
        Some(number @ (4 | 10..=19)) if content.contains(&b'?') => colours(number, content, end),
        _ => Osc::Pass,
    }
}

/// Colours asked for and colours set may stand in one list: tell the ones, keep the others.
fn colours(command: u16, content: &[u8], end: End) -> Osc {
    let clean: Vec<u8> = content.iter().copied().filter(|b| *b >= 0x20).collect();
    let terminator = end.terminator().unwrap_or(ST);
    let mut queries = Vec::new();
    let mut rest = Vec::new();
    let mut set = |prefix: &[u8], value: &[u8]| {
        rest.extend_from_slice(b"\x1b]");
        rest.extend_from_slice(prefix);
        rest.push(b';');
        rest.extend_from_slice(value);
        rest.extend_from_slice(terminator);
    };
    let mut values = clean.split(|byte| *byte == b';').skip(1);
    if command == 4 {
        while let (Some(index), Some(value)) = (values.next(), values.next()) {
            match palette_index(index) {
                Some(number) if value == b"?" => queries.push(Query::Colour {
                    number: 0x1000 + number,
                    terminator,
                }),
                Some(_) => set(&[b"4;", index].concat(), value),
                None => {}
            }
        }
    } else {
        for (number, value) in (command..20).zip(values) {
            if value == b"?" {
                queries.push(Query::Colour { number, terminator });
            } else {
                set(number.to_string().as_bytes(), value);
            }
        }
    }
    Osc::Colours { queries, rest }
}

/// An index into the palette of 256 colours.
fn palette_index(digits: &[u8]) -> Option<u16> {
    let number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    number.then(|| decimal(digits)).filter(|index| *index < 256)
}

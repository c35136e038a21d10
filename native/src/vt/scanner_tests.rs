use super::{
    CLIPBOARD_LIMIT, Item, Kind, OSC_LIMIT, Query, REQUEST_LIMIT, SEQUENCE_LIMIT, Scanner,
};

const ST: &[u8] = b"\x1b\\";

/// What a scan gave, with the text between two other items joined.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Told {
    Text(Vec<u8>),
    Query(u64, Query),
    Event(u64, Kind, Vec<u8>),
}

#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    told: Vec<Told>,
    offset: u64,
    boundary: u64,
    in_string: bool,
    sync_open: bool,
}

impl Outcome {
    fn text(&self) -> Vec<u8> {
        let texts = self.told.iter().filter_map(|told| match told {
            Told::Text(text) => Some(text.as_slice()),
            _ => None,
        });
        texts.collect::<Vec<_>>().concat()
    }

    fn queries(&self) -> Vec<Query> {
        let queries = self.told.iter().filter_map(|told| match told {
            Told::Query(_, query) => Some(query.clone()),
            _ => None,
        });
        queries.collect()
    }

    fn events(&self) -> Vec<(Kind, &[u8])> {
        let events = self.told.iter().filter_map(|told| match told {
            Told::Event(_, kind, data) => Some((*kind, data.as_slice())),
            _ => None,
        });
        events.collect()
    }
}

/// Feed `input` in the given pieces, checking that every offset and slice is true.
fn scan_pieces<'a>(input: &[u8], pieces: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let mut scanner = Scanner::new();
    let mut told: Vec<Told> = Vec::new();
    let mut last = 0;
    for piece in pieces {
        let base = scanner.offset();
        scanner.scan(piece, &mut |offset, item| {
            assert!(offset >= last, "offsets go back");
            last = offset;
            let text = match item {
                Item::Text(text) => {
                    let at = offset as usize;
                    assert!(!text.is_empty());
                    assert_eq!(text, &input[at - text.len()..at]);
                    assert!(at - text.len() >= base as usize);
                    text.to_vec()
                }
                Item::Owned(text) => text,
                Item::Query(query) => return told.push(Told::Query(offset, query)),
                Item::Event(kind, data) => return told.push(Told::Event(offset, kind, data)),
            };
            match told.last_mut() {
                Some(Told::Text(before)) => before.extend_from_slice(&text),
                _ => told.push(Told::Text(text)),
            }
        });
        assert!(last <= scanner.offset());
        assert!(scanner.boundary() <= scanner.offset());
    }
    Outcome {
        told,
        offset: scanner.offset(),
        boundary: scanner.boundary(),
        in_string: scanner.in_string(),
        sync_open: scanner.sync_open(),
    }
}

fn scan(input: &[u8]) -> Outcome {
    scan_pieces(input, [input])
}

fn scan_bytewise(input: &[u8]) -> Outcome {
    scan_pieces(input, input.chunks(1))
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % bound
    }

    fn pieces<'a>(&mut self, mut input: &'a [u8], longest: usize) -> Vec<&'a [u8]> {
        let mut pieces = Vec::new();
        while !input.is_empty() {
            let (piece, rest) = input.split_at((1 + self.below(longest)).min(input.len()));
            pieces.push(piece);
            input = rest;
        }
        pieces
    }

    fn structured(&mut self, tokens: usize) -> Vec<u8> {
        let mut input = Vec::new();
        for _ in 0..tokens {
            match self.below(8) {
                0 => input.push(self.below(256) as u8),
                1 => input.push(0x1b),
                2 => input.extend_from_slice(TEXTS[self.below(TEXTS.len())].as_bytes()),
                _ => input.extend_from_slice(TOKENS[self.below(TOKENS.len())]),
            }
        }
        input
    }
}

const TEXTS: &[&str] = &[
    "plain",
    "é",
    "€",
    "😀",
    "\u{9b}",
    "\r\n",
    "a\u{301}",
    "日本語",
];

const TOKENS: &[&[u8]] = &[
    b"[",
    b"]",
    b"P",
    b"_",
    b"^",
    b"X",
    b"\\",
    b"\x07",
    b"\x18",
    b"\x1a",
    b"\x9c",
    b"\x9b",
    b"\x80",
    b"\x7f",
    b"\n",
    b"\x00",
    b"\xe2",
    b"\x82",
    b"\xac",
    b"\xf0\x9f",
    b"\xc3",
    b"?",
    b">",
    b"=",
    b"<",
    b"$",
    b"+",
    b" ",
    b"!",
    b"(",
    b";",
    b":",
    b"0",
    b"3",
    b"4",
    b"6",
    b"14",
    b"2026",
    b"G",
    b"Z",
    b"c",
    b"h",
    b"l",
    b"m",
    b"n",
    b"p",
    b"q",
    b"t",
    b"u",
    b"J",
    b"A",
    b"\x1b[",
    b"\x1b]",
    b"\x1bP",
    b"\x1b_",
    b"\x1b\\",
    b"\x1b[?",
    b"\x1b[31m",
    b"\x1b[6n",
    b"\x1b[3J",
    b"\x1b[?25;2026h",
    b"\x1b[?2026l",
    b"\x1b]0;title",
    b"\x1b]52;c;Zm9v",
    b"\x1b]9;hello\x07",
    b"\x1b]10;?",
    b"\x1b]11;?;#fff\x07",
    b"\x1b]4;1;?;2;red",
    b"\x1b]8;;http://x\x1b\\",
    b"\x1bP$qm\x1b\\",
    b"\x1bP+q544e\x1b\\",
    b"\x1bP1;2q#0~~",
    b"\x1b_Ga=T;AAAA\x1b\\",
    b"\x1b(0",
    b"\x1b[>c",
    b"\x1b[?1$p",
    b"2026;25",
];

/// Inputs that leave the scanner in each of its states.
const OPENINGS: &[&[u8]] = &[
    b"",
    b"text",
    b"\xc3",
    b"\xe2\x82",
    b"\xf0\x9f\x98",
    b"\x1b",
    b"\x1b(",
    b"\x1b[",
    b"\x1b[?",
    b"\x1b[6",
    b"\x1b[?2026",
    b"\x1b[?25;2026",
    b"\x1b[3",
    b"\x1b[1$",
    b"\x1b[1<",
    b"\x1b[3\n",
    b"\x1b]",
    b"\x1b]1",
    b"\x1b]10;?",
    b"\x1b]4;1;?",
    b"\x1b]52;c;",
    b"\x1b]9;x",
    b"\x1b]0;t\x1b",
    b"\x1b]52;c;\x1b",
    b"\x1b]10;?\x1b",
    b"\x1bP",
    b"\x1bP1",
    b"\x1bP$",
    b"\x1bP?1?",
    b"\x1bPq",
    b"\x1bP$q",
    b"\x1bP$qm",
    b"\x1bP+q54",
    b"\x1bP+q54\x1b",
    b"\x1bPq~\x1b",
    b"\x1b_",
    b"\x1b_G",
    b"\x1b_x\x1b",
    b"\x1b^",
    b"\x1bX",
];

// Cuts make no difference.

fn assert_cuts_do_not_matter(input: &[u8], random: &mut Random) {
    let whole = scan(input);
    assert_eq!(whole, scan_bytewise(input), "{}", input.escape_ascii());
    let pieces = random.pieces(input, 9);
    assert_eq!(
        whole,
        scan_pieces(input, pieces),
        "{}",
        input.escape_ascii()
    );
}

#[test]
fn every_byte_in_every_state_at_every_cut() {
    for opening in OPENINGS {
        for byte in 0..=255 {
            let input = [opening, [byte].as_slice(), b"m z\x1b\\\x1b[6n\xc3\xa9c"].concat();
            let whole = scan(&input);
            assert_eq!(whole, scan_bytewise(&input), "{}", input.escape_ascii());
            for cut in 1..input.len() {
                let (head, tail) = input.split_at(cut);
                let parts = scan_pieces(&input, [head, tail]);
                assert_eq!(whole, parts, "{} at {cut}", input.escape_ascii());
            }
            assert_model_sees_what_it_should(&input);
        }
    }
}

#[test]
fn random_input_in_random_pieces() {
    let mut random = Random(0x5eed);
    for _ in 0..6000 {
        let tokens = 1 + random.below(40);
        let input = random.structured(tokens);
        assert_cuts_do_not_matter(&input, &mut random);
    }
}

#[test]
fn the_boundary_of_every_prefix_is_the_same_whole_and_bytewise() {
    let mut random = Random(0xb0a4d);
    for _ in 0..200 {
        let input = random.structured(20);
        let mut bytewise = Scanner::new();
        for to in 0..input.len() {
            bytewise.scan(&input[to..=to], &mut |_, _| {});
            let mut whole = Scanner::new();
            whole.scan(&input[..=to], &mut |_, _| {});
            let state = |s: &Scanner| (s.boundary(), s.in_string(), s.sync_open());
            assert_eq!(
                state(&whole),
                state(&bytewise),
                "{}",
                input[..=to].escape_ascii()
            );
        }
    }
}

/// Scanning on from the boundary, with a fresh scanner, tells the same as scanning on.
#[test]
fn the_boundary_is_where_reading_can_begin_anew() {
    let mut random = Random(0xfeed);
    let mut open = 0;
    for _ in 0..3000 {
        let input = random.structured(20);
        let cut = random.below(input.len() + 1);
        let mut scanner = Scanner::new();
        scanner.scan(&input[..cut], &mut |_, _| {});
        let boundary = scanner.boundary() as usize;
        // Controls inside the open sequence have acted already and would act again.
        if boundary < cut && input[boundary + 1..cut].iter().any(|byte| *byte < 0x20) {
            continue;
        }
        open += usize::from(boundary < cut);
        let mut rest = Vec::new();
        let mut on = |_: u64, item: Item<'_>| collect(&mut rest, &item);
        scanner.scan(&input[cut..], &mut on);
        let mut again = Vec::new();
        let mut anew = Scanner::new();
        anew.scan(&input[boundary..], &mut |_, item| {
            collect(&mut again, &item)
        });
        assert_eq!(rest, again, "{} at {cut}", input.escape_ascii());
    }
    assert!(open > 300, "{open}");
}

fn collect(told: &mut Vec<u8>, item: &Item<'_>) {
    match item {
        Item::Text(text) => told.extend_from_slice(text),
        Item::Owned(text) => told.extend_from_slice(text),
        Item::Event(Kind::Graphics | Kind::SyncClosed, _) => {}
        other => told.extend_from_slice(format!("{other:?}").as_bytes()),
    }
}

// vte as the oracle.

#[derive(Debug, Clone, PartialEq, Eq)]
enum Act {
    Print(char),
    Execute(u8),
    Csi(Vec<Vec<u16>>, Vec<u8>, bool, char),
    Esc(Vec<u8>, bool, u8),
    Osc(Vec<Vec<u8>>),
}

#[derive(Default)]
struct Acts(Vec<Act>);

impl vte::Perform for Acts {
    fn print(&mut self, c: char) {
        self.0.push(Act::Print(c));
    }

    fn execute(&mut self, byte: u8) {
        self.0.push(Act::Execute(byte));
    }

    fn csi_dispatch(&mut self, params: &vte::Params, inter: &[u8], ignore: bool, action: char) {
        let params = params.iter().map(<[u16]>::to_vec).collect();
        self.0
            .push(Act::Csi(params, inter.to_vec(), ignore, action));
    }

    fn esc_dispatch(&mut self, inter: &[u8], ignore: bool, byte: u8) {
        self.0.push(Act::Esc(inter.to_vec(), ignore, byte));
    }

    fn osc_dispatch(&mut self, params: &[&[u8]], _bell_terminated: bool) {
        self.0
            .push(Act::Osc(params.iter().map(|p| p.to_vec()).collect()));
    }
}

fn acts(pieces: &[Vec<u8>]) -> Vec<Act> {
    let mut parser = vte::Parser::new();
    let mut acts = Acts::default();
    for piece in pieces {
        parser.advance(&mut acts, piece);
    }
    acts.0
}

/// What the model should do about something that `vte` found in the whole output.
fn allowed(act: Act) -> Vec<Act> {
    match &act {
        Act::Execute(0x07) | Act::Esc(_, _, b'\\') => vec![],
        Act::Esc(inter, _, b'Z') if inter.is_empty() => vec![],
        Act::Csi(params, inter, false, action) => {
            let first = params[0][0];
            match (inter.as_slice(), action, first) {
                (b"", 'J', 3)
                | (b"" | b">" | b"=", 'c', 0)
                | (b"", 'n', 5 | 6)
                | (b"?", 'n', 6)
                | (b"$" | b"?$", 'p', _)
                | (b">", 'q', 0)
                | (b"", 't', 14 | 16 | 18)
                | (b"?", 'u', _)
                | (b"?", 'm', 4) => vec![],
                (b"?", 'h' | 'l', _) if params.iter().any(|p| p[0] == 2026) => {
                    let rest: Vec<Vec<u16>> = params
                        .iter()
                        .filter(|p| p[0] != 2026)
                        .map(|p| vec![p[0]])
                        .collect();
                    let left = Act::Csi(rest.clone(), inter.clone(), false, *action);
                    if rest.is_empty() { vec![] } else { vec![left] }
                }
                _ => vec![act],
            }
        }
        Act::Osc(params) => allowed_osc(params),
        _ => vec![act],
    }
}

fn allowed_osc(params: &[Vec<u8>]) -> Vec<Act> {
    let number = std::str::from_utf8(&params[0])
        .ok()
        .and_then(|n| n.parse::<u64>().ok());
    let set = |prefix: &[&[u8]], value: &[u8]| {
        let mut params: Vec<Vec<u8>> = prefix.iter().map(|p| p.to_vec()).collect();
        params.push(value.to_vec());
        Act::Osc(params)
    };
    match number {
        Some(9 | 52 | 99 | 777) => vec![],
        Some(4) => params[1..]
            .chunks_exact(2)
            .filter(|pair| pair[1] != b"?" && index(&pair[0]).is_some())
            .map(|pair| set(&[b"4", &pair[0]], &pair[1]))
            .collect(),
        Some(first @ 10..=19) => (first..20)
            .zip(&params[1..])
            .filter(|(_, value)| value.as_slice() != b"?")
            .map(|(number, value)| set(&[number.to_string().as_bytes()], value))
            .collect(),
        _ => vec![Act::Osc(params.to_vec())],
    }
}

fn index(digits: &[u8]) -> Option<u8> {
    let text = std::str::from_utf8(digits).ok()?;
    text.parse().ok().filter(|_| !text.starts_with('+'))
}

fn assert_model_sees_what_it_should(input: &[u8]) {
    // CAN ends whatever is open: both sides have told everything.
    let input = [input, b"\x18."].concat();
    let input = input.as_slice();
    let mut pieces: Vec<Vec<u8>> = Vec::new();
    let mut scanner = Scanner::new();
    scanner.scan(input, &mut |_, item| match item {
        Item::Text(text) => pieces.push(text.to_vec()),
        Item::Owned(text) => pieces.push(text),
        _ => {}
    });
    let expected: Vec<Act> = acts(&[input.to_vec()])
        .into_iter()
        .flat_map(allowed)
        .collect();
    // The filter, applied again, brings the forms of OSC 4 and 10…19 together and must remove nothing.
    let seen = acts(&pieces);
    let brought: Vec<Act> = seen.iter().cloned().flat_map(normal_form).collect();
    assert_eq!(brought, expected, "{}", input.escape_ascii());
}

fn normal_form(act: Act) -> Vec<Act> {
    match &act {
        Act::Esc(_, _, b'\\') => vec![],
        Act::Osc(params) => {
            let forms = allowed_osc(params);
            let number = params[0].as_slice();
            assert!(!matches!(number, b"9" | b"52" | b"99" | b"777"));
            let colour = matches!(number, b"4" | [b'1', b'0'..=b'9']);
            assert!(!(colour && params[1..].iter().any(|p| p == b"?")));
            forms
        }
        _ => vec![act],
    }
}

#[test]
fn the_model_does_what_vte_would_do_less_what_is_withheld() {
    let mut random = Random(0x0a4c1e);
    for _ in 0..8000 {
        let tokens = 1 + random.below(40);
        assert_model_sees_what_it_should(&random.structured(tokens));
    }
}

#[test]
fn random_bytes_too() {
    let mut random = Random(0xbad);
    for _ in 0..3000 {
        let input: Vec<u8> = (0..60)
            .map(|_| match random.below(3) {
                0 => 0x1b,
                _ => random.below(256) as u8,
            })
            .collect();
        assert_model_sees_what_it_should(&input);
        assert_cuts_do_not_matter(&input, &mut random);
    }
}

/// Behind every item the model's parser is at ground: plain text that came next would be printed.
#[test]
fn no_item_ends_inside_a_sequence() {
    let mut random = Random(0x9a0);
    for _ in 0..1500 {
        let input = random.structured(20);
        let pieces = random.pieces(&input, 5);
        let mut scanner = Scanner::new();
        for piece in pieces {
            scanner.scan(piece, &mut |_, item| {
                let bytes = match item {
                    Item::Text(text) => text.to_vec(),
                    Item::Owned(text) => text,
                    _ => return,
                };
                let last = acts(&[bytes.clone(), b"#".to_vec()]).pop();
                assert_eq!(last, Some(Act::Print('#')), "{}", bytes.escape_ascii());
            });
        }
    }
}

#[test]
fn what_holds_nothing_special_is_passed_on_as_it_is() {
    let mut random = Random(0x7e47);
    let sequences: &[&[u8]] = &[
        b"\x1b[1;31m",
        b"\x1b[K",
        b"\x1b[?25l",
        b"\x1b[10;20H",
        b"\x1b(B",
        b"\x1b7",
        b"\x1b]0;t\x07",
        b"\x1b]8;;u\x1b\\",
        b"\x1b[38:2::1:2:3m",
        b"\r\n",
        b"\x1b[\"p",
        b"\x1b[2 q",
        b"\xff\xfe",
        b"\x1b[2J",
    ];
    for _ in 0..500 {
        let mut input = Vec::new();
        for _ in 0..random.below(40) {
            input.extend_from_slice(sequences[random.below(sequences.len())]);
            input.extend_from_slice(TEXTS[random.below(TEXTS.len())].as_bytes());
        }
        let whole = scan(&input);
        assert_eq!(whole.text(), input);
        assert!(whole.told.len() <= 1);
        let pieces = random.pieces(&input, 7);
        assert_eq!(scan_pieces(&input, pieces), whole);
    }
}

#[test]
fn whole_sequences_are_not_copied() {
    let input = b"a\x1b[1mb\x1b]0;title\x07c\x1b(B\xe2\x82\xacd\x1b]8;;u\x1b\\e";
    let mut items = Vec::new();
    Scanner::new().scan(input, &mut |offset, item| items.push((offset, item)));
    assert_eq!(items, [(input.len() as u64, Item::Text(input))]);
}

// Queries.

#[test]
fn queries_are_told_and_withheld() {
    let colour = |number, terminator| Query::Colour { number, terminator };
    let cases: &[(&[u8], &[Query])] = &[
        (b"\x1b[c", &[Query::PrimaryAttributes]),
        (b"\x1b[0c", &[Query::PrimaryAttributes]),
        (b"\x1bZ", &[Query::PrimaryAttributes]),
        (b"\x1b[>c", &[Query::SecondaryAttributes]),
        (b"\x1b[=0c", &[Query::TertiaryAttributes]),
        (b"\x1b[5n", &[Query::Status]),
        (b"\x1b[6n", &[Query::CursorPosition { private: false }]),
        (b"\x1b[?6n", &[Query::CursorPosition { private: true }]),
        (
            b"\x1b[?2026$p",
            &[Query::Mode {
                private: true,
                number: 2026,
            }],
        ),
        (
            b"\x1b[4$p",
            &[Query::Mode {
                private: false,
                number: 4,
            }],
        ),
        (b"\x1b[>q", &[Query::Version]),
        (b"\x1b[>0q", &[Query::Version]),
        (b"\x1b[?u", &[Query::KittyFlags]),
        (b"\x1b[14t", &[Query::WindowPixels]),
        (b"\x1b[16t", &[Query::CellPixels]),
        (b"\x1b[18t", &[Query::WindowCells]),
        (b"\x1b[?4m", &[Query::OtherKeys]),
        (b"\x1bP$qm\x1b\\", &[Query::Setting(b"m".to_vec())]),
        (b"\x1bP$q q\x9c", &[Query::Setting(b" q".to_vec())]),
        (
            b"\x1bP+q544e;436f\x1b\\",
            &[Query::Capability(b"544e;436f".to_vec())],
        ),
        (b"\x1b]10;?\x07", &[colour(10, b"\x07")]),
        (b"\x1b]11;?\x1b\\", &[colour(11, ST)]),
        (
            b"\x1b]10;?;?\x07",
            &[colour(10, b"\x07"), colour(11, b"\x07")],
        ),
        (
            b"\x1b]4;7;?;255;?\x1b\\",
            &[colour(0x1007, ST), colour(0x10ff, ST)],
        ),
        (b"\x1b]4;256;?\x07", &[]),
        (
            b"\x1b[6\x7f\x80n",
            &[Query::CursorPosition { private: false }],
        ),
    ];
    for (input, queries) in cases {
        let outcome = scan(&[b"a", *input, b"b"].concat());
        let name = input.escape_ascii();
        assert_eq!(outcome.queries(), *queries, "{name}");
        assert_eq!(outcome.text(), b"ab", "{name}");
        let behind = 1 + input.len() as u64;
        for told in &outcome.told {
            assert!(
                !matches!(told, Told::Query(at, _) if *at != behind),
                "{name}"
            );
        }
    }
}

#[test]
fn what_only_resembles_a_query_goes_to_the_model() {
    let cases: &[&[u8]] = &[
        b"\x1b[1c",
        b"\x1b[?1;2c",
        b"\x1b[?5n",
        b"\x1b[0n",
        b"\x1b[\"p",
        b"\x1b[2 q",
        b"\x1b[q",
        b"\x1b[u",
        b"\x1b[>1u",
        b"\x1b[<u",
        b"\x1b[22t",
        b"\x1b[4m",
        b"\x1b[>4;2m",
        b"\x1b[2J",
        b"\x1b[?3J",
        b"\x1b[6<n",
        b"\x1b[6 5n",
        b"\x1b( Z",
        b"\x1b]10;#fff\x07",
        b"\x1b]104\x07",
        b"\x1b]l?\x07",
    ];
    for input in cases {
        let outcome = scan(input);
        assert_eq!(
            outcome.told,
            [Told::Text(input.to_vec())],
            "{}",
            input.escape_ascii()
        );
    }
}

#[test]
fn colours_that_are_set_beside_a_question_are_passed_on() {
    let outcome = scan(b"\x1b]10;?;#123;?\x07\x1b]4;1;red;2;?\x1b\\");
    assert_eq!(outcome.text(), b"\x1b]11;#123\x07\x1b]4;1;red\x1b\\");
    assert_eq!(outcome.queries().len(), 3);
}

#[test]
fn a_question_that_is_broken_off_is_not_told() {
    for input in [
        b"\x1b]10;?\x18".as_slice(),
        b"\x1b]10;?\x1b[m",
        b"\x1bP$qm\x18",
        b"\x1bP$qm\x1b[m",
        b"\x1b[6\x18",
        b"\x1b[6\x1b[m",
        b"\x1b]52;c;AA\x1a",
        b"\x1b]9;AA\x1b[m",
    ] {
        let outcome = scan(input);
        let told = outcome.queries().len() + outcome.events().len();
        assert_eq!(told, 0, "{}", input.escape_ascii());
        let last = input[input.len() - 1..].to_vec();
        let expected = if last == b"m" {
            b"\x1b[m".to_vec()
        } else {
            last
        };
        assert_eq!(outcome.text(), expected, "{}", input.escape_ascii());
    }
}

// Events.

#[test]
fn one_shot_sequences_are_told_raw_and_withheld() {
    let cases: &[(&[u8], Kind)] = &[
        (b"\x07", Kind::Bell),
        (b"\x1b]52;c;Zm9v\x07", Kind::Clipboard),
        (b"\x1b]52;c;?\x1b\\", Kind::Clipboard),
        (b"\x1b]9;hi\x07", Kind::Notify),
        (b"\x1b]99;i=1;hi\x1b\\", Kind::Notify),
        (b"\x1b]777;notify;a;b\x07", Kind::Notify),
        (b"\x1b]0\x01052;c;Zm9v\x07", Kind::Clipboard),
    ];
    for (input, kind) in cases {
        let outcome = scan(&[b"a", *input, b"b"].concat());
        assert_eq!(
            outcome.events(),
            [(*kind, *input)],
            "{}",
            input.escape_ascii()
        );
        assert_eq!(outcome.text(), b"ab");
    }
}

#[test]
fn clearing_the_history_is_told() {
    let outcome = scan(b"\x1b[2J\x1b[3J\x1b[H");
    assert_eq!(outcome.events(), [(Kind::ClearHistory, b"".as_slice())]);
    assert_eq!(outcome.text(), b"\x1b[2J\x1b[H");
}

#[test]
fn a_soft_reset_is_told() {
    let outcome = scan(b"a\x1b[!pb");
    assert_eq!(outcome.events(), [(Kind::SoftReset, b"".as_slice())]);
    assert_eq!(outcome.text(), b"ab");
}

#[test]
fn graphics_are_told_once_and_early() {
    for (input, behind) in [
        (b"\x1bPq#0;2;0;0;0~~".as_slice(), 3),
        (b"\x1bP0;1;0q~", 8),
        (b"\x1b_Ga=T,f=100;iVBO\x1b\\", 3),
    ] {
        let outcome = scan(input);
        assert_eq!(outcome.told, [Told::Event(behind, Kind::Graphics, vec![])]);
    }
    for input in [
        b"\x1bP1$r0m\x1b\\".as_slice(),
        b"\x1bP=1s\x1b\\",
        b"\x1b_x\x1b\\",
        b"\x1b^G\x1b\\",
    ] {
        assert_eq!(scan(input).told, [], "{}", input.escape_ascii());
    }
}

#[test]
fn a_synchronized_update_is_told_and_taken_out_of_lists() {
    let outcome = scan(b"a\x1b[?2026hb\x1b[?25;2026lc");
    let (opened, closed) = (Kind::SyncOpened, Kind::SyncClosed);
    assert_eq!(outcome.events(), [(opened, b"".as_slice()), (closed, b"")]);
    assert_eq!(outcome.text(), b"ab\x1b[?25lc");
    assert!(scan(b"\x1b[?1;2026;7h").sync_open);
    assert_eq!(scan(b"\x1b[?1;2026;7h").text(), b"\x1b[?1;7h");
    assert!(!scan(b"\x1b[2026h").sync_open);
    assert!(!outcome.sync_open);
}

#[test]
fn a_reset_closes_a_synchronized_update() {
    let outcome = scan(b"\x1b[?2026h\x1bc");
    assert!(!outcome.sync_open);
    assert_eq!(outcome.events().len(), 2);
    assert_eq!(scan(b"\x1bc").events(), []);
}

#[test]
fn controls_inside_a_sequence_come_first() {
    let outcome = scan(b"\x1b[3\n\x071m");
    assert_eq!(outcome.text(), b"\n\x1b[31m");
    assert_eq!(outcome.events().len(), 1);
}

// Limits.

#[test]
fn an_osc_is_passed_on_up_to_its_limit() {
    for (len, passed) in [(OSC_LIMIT, true), (OSC_LIMIT + 1, false)] {
        let mut input = b"\x1b]0;".to_vec();
        input.resize(len, b'x');
        for end in [b"\x07".as_slice(), ST] {
            let input = [&input, end, b"ok"].concat();
            let expected = if passed { input.as_slice() } else { b"ok" };
            assert_eq!(scan(&input).text(), expected);
            let pieces = scan_pieces(&input, input.chunks(4096));
            assert_eq!(pieces.text(), expected);
        }
    }
}

#[test]
fn a_clipboard_may_be_longer() {
    for (len, told) in [(CLIPBOARD_LIMIT, 1), (CLIPBOARD_LIMIT + 1, 0)] {
        let mut input = b"\x1b]52;c;".to_vec();
        input.resize(len, b'x');
        input.extend_from_slice(b"\x07ok");
        for outcome in [scan(&input), scan_pieces(&input, input.chunks(10_000))] {
            assert_eq!(outcome.events().len(), told);
            assert_eq!(outcome.text(), b"ok");
        }
    }
}

#[test]
fn a_swallowed_string_ends_as_any_other() {
    let mut long = b"\x1b]0;".to_vec();
    long.resize(OSC_LIMIT + 5, b'x');
    for (end, text) in [
        (b"\x07a".as_slice(), b"a".as_slice()),
        (b"\x1b\\a", b"a"),
        (b"\x18a", b"\x18a"),
        (b"\x1b[31ma", b"\x1b[31ma"),
        (b"\x1b]0;t\x07a", b"\x1b]0;t\x07a"),
    ] {
        let input = [&long, end].concat();
        let outcome = scan(&input);
        assert_eq!(outcome.text(), text);
        assert_eq!(outcome, scan_pieces(&input, input.chunks(1000)));
    }
}

#[test]
fn a_sequence_beyond_its_limit_is_dropped_but_for_its_controls() {
    let zeros = vec![b'0'; SEQUENCE_LIMIT];
    for (input, text) in [
        (
            [b"\x1b[?", zeros.as_slice(), b"2026\n\x07hok"].concat(),
            b"\nok".as_slice(),
        ),
        (
            [b"\x1b[", zeros.as_slice(), b"\x1b[mok"].concat(),
            b"\x1b[mok",
        ),
        (
            [b"\x1b", vec![b' '; SEQUENCE_LIMIT].as_slice(), b"0ok"].concat(),
            b"ok",
        ),
    ] {
        let outcome = scan(&input);
        assert_eq!(outcome.text(), text, "{}", input.escape_ascii());
        assert_eq!(outcome, scan_bytewise(&input));
        assert!(!outcome.sync_open);
    }
    let longest = [b"\x1b[", &zeros[..SEQUENCE_LIMIT - 3], b"m"].concat();
    assert_eq!(scan(&longest).text(), longest);
}

#[test]
fn a_request_beyond_its_limit_is_not_told() {
    for (len, told) in [(REQUEST_LIMIT, 1), (REQUEST_LIMIT + 1, 0)] {
        let input = [b"\x1bP+q", vec![b'5'; len].as_slice(), ST].concat();
        assert_eq!(scan(&input).queries().len(), told);
        let pieces = scan_pieces(&input, input.chunks(1000));
        assert_eq!(pieces.queries().len(), told);
    }
}

#[test]
fn unterminated_strings_hold_no_more_than_their_limit() {
    let chunk = vec![b'x'; 256 << 10];
    for opening in OPENINGS {
        let mut scanner = Scanner::new();
        scanner.scan(opening, &mut |_, _| {});
        for _ in 0..64 {
            scanner.scan(&chunk, &mut |_, _| {});
            assert!(scanner.held.capacity() <= 2 * CLIPBOARD_LIMIT + 64);
        }
        scanner.scan(ST, &mut |_, _| {});
        assert!(
            scanner.held.capacity() <= 4096,
            "{}",
            opening.escape_ascii()
        );
        assert_eq!(scanner.boundary(), scanner.offset());
    }
}

// The scanner's own account.

#[test]
fn the_boundary_is_where_the_open_sequence_began() {
    for (input, boundary, in_string) in [
        (b"ab".as_slice(), 2, false),
        (b"ab\x1b", 2, false),
        (b"ab\x1b[3", 2, false),
        (b"ab\xe2\x82", 2, false),
        (b"ab\x1b]0;x", 2, true),
        (b"ab\x1b]0;x\x1b", 2, true),
        (b"ab\x1bPq~", 2, true),
        (b"ab\x1b_G", 2, true),
        (b"ab\x1b^", 2, true),
        (b"ab\x1bX", 2, true),
        (b"ab\x1b]0;x\x1b[", 7, false),
        (b"ab\x1b[3\x1b", 5, false),
        (b"ab\x1b\x1b", 3, false),
        (b"ab\x1b[3\x18", 6, false),
    ] {
        for outcome in [scan(input), scan_bytewise(input)] {
            assert_eq!(outcome.boundary, boundary, "{}", input.escape_ascii());
            assert_eq!(outcome.in_string, in_string, "{}", input.escape_ascii());
        }
    }
}

#[test]
fn skip_to_goes_on_at_ground() {
    let mut scanner = Scanner::new();
    scanner.scan(b"\x1b[?2026h\x1b]52;c;AA", &mut |_, _| {});
    scanner.skip_to(1000);
    assert_eq!((scanner.offset(), scanner.boundary()), (1000, 1000));
    assert!(!scanner.in_string() && !scanner.sync_open());
    let mut items = Vec::new();
    scanner.scan(b"x\x07", &mut |offset, item| items.push((offset, item)));
    let bell = Item::Event(Kind::Bell, b"\x07".to_vec());
    assert_eq!(items, [(1001, Item::Text(b"x")), (1002, bell)]);
}

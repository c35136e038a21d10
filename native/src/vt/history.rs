//! Lines that have left the screen at its top, compressed in blocks.
//!
//! Every line gets the next id, for ever; the oldest lines are forgotten beyond a number of lines or of
//! bytes. LZ4 rather than zstd: log text shrinks less (about a third remains), but the code is small and
//! pure Rust, and neither direction needs hundreds of KiB of working memory per session.

use std::collections::VecDeque;

/// Lines in one block.
const BLOCK_LINES: usize = 256;
/// A block is closed early at this size, so that long lines do not pile up uncompressed.
const BLOCK_BYTES: usize = 128 << 10;
/// All blocks together; the oldest go when there is more.
const TOTAL_BYTES: usize = 8 << 20;

/// One line of the screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// UTF-8 with SGR sequences.
    pub(crate) text: Vec<u8>,
    /// Whether the next line is the continuation of this one.
    pub(crate) wrapped: bool,
}

/// Where a line lies in the text of its block.
#[derive(Debug, Clone, Copy)]
struct Extent {
    end: usize,
    wrapped: bool,
}

/// The newest lines, not compressed yet.
#[derive(Debug, Default)]
struct Open {
    text: Vec<u8>,
    extents: Vec<Extent>,
}

#[derive(Debug)]
struct Block {
    first: u64,
    /// What `packed` expands to.
    bytes: usize,
    lines: usize,
    packed: Box<[u8]>,
}

/// A ring of lines, the oldest of which are forgotten.
#[derive(Debug)]
pub(crate) struct History {
    limit_lines: usize,
    first: u64,
    end: u64,
    blocks: VecDeque<Block>,
    packed_bytes: usize,
    open: Open,
}

impl History {
    /// Keep up to `limit_lines` lines; with 0 they are only counted.
    pub(crate) fn new(limit_lines: usize) -> Self {
        Self {
            limit_lines,
            first: 0,
            end: 0,
            blocks: VecDeque::new(),
            packed_bytes: 0,
            open: Open::default(),
        }
    }

    /// Append a line, which gets the id `end()`.
    pub(crate) fn push(&mut self, line: Line) {
        self.push_text(&line.text, line.wrapped);
    }

    /// The same, with the text lent.
    pub(crate) fn push_text(&mut self, text: &[u8], wrapped: bool) {
        self.end += 1;
        if self.limit_lines == 0 {
            self.first = self.end;
            return;
        }
        self.open.push(text, wrapped);
        if self.open.is_full() {
            self.close_block();
        }
        self.forget();
    }

    /// Forget all lines; ids go on.
    pub(crate) fn clear(&mut self) {
        self.first = self.end;
        self.blocks.clear();
        self.packed_bytes = 0;
        self.open = Open::default();
    }

    /// The id of the oldest line that is kept; `end()` when there is none.
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    /// The id that the next line gets.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// The lines with ids `first` up to `end`, as far as they are kept, and no more of them than
    /// `max_bytes` of text; but one at least, so that who reads in portions gets on.
    pub(crate) fn lines(&self, first: u64, end: u64, max_bytes: usize) -> Vec<Line> {
        let mut portion = Portion {
            next: first.max(self.first),
            end: end.min(self.end),
            room: max_bytes,
            lines: Vec::new(),
        };
        let skipped = self
            .blocks
            .partition_point(|block| block.end() <= portion.next);
        for block in self.blocks.range(skipped..) {
            if portion.done() {
                return portion.lines;
            }
            let Some(open) = block.unpack() else {
                return portion.lines;
            };
            portion.take(block.first, &open);
        }
        portion.take(self.open_first(), &self.open);
        portion.lines
    }

    /// Heap held, in bytes.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.packed_bytes
            + self.blocks.capacity() * size_of::<Block>()
            + self.open.text.capacity()
            + self.open.extents.capacity() * size_of::<Extent>()
    }

    fn open_first(&self) -> u64 {
        self.end - self.open.extents.len() as u64
    }

    fn close_block(&mut self) {
        let block = self.open.pack(self.open_first());
        self.packed_bytes += block.packed.len();
        self.blocks.push_back(block);
    }

    fn forget(&mut self) {
        let limit = self.limit_lines as u64;
        self.first = self.first.max(self.end.saturating_sub(limit));
        while let Some(oldest) = self.blocks.front() {
            if oldest.end() > self.first && self.packed_bytes <= TOTAL_BYTES {
                break;
            }
            self.first = self.first.max(oldest.end());
            self.packed_bytes -= oldest.packed.len();
            self.blocks.pop_front();
        }
    }
}

impl Open {
    fn push(&mut self, text: &[u8], wrapped: bool) {
        self.text.extend_from_slice(text);
        self.extents.push(Extent {
            end: self.text.len(),
            wrapped,
        });
    }

    fn is_full(&self) -> bool {
        self.extents.len() >= BLOCK_LINES || self.text.len() >= BLOCK_BYTES
    }

    /// Make a block of what is here and begin anew.
    fn pack(&mut self, first: u64) -> Block {
        let mut raw = Vec::with_capacity(self.text.len() + 2 * self.extents.len());
        let mut start = 0;
        for extent in &self.extents {
            let len = extent.end - start;
            put_number(&mut raw, len << 1 | usize::from(extent.wrapped));
            start = extent.end;
        }
        raw.extend_from_slice(&self.text);
        let block = Block {
            first,
            bytes: raw.len(),
            lines: self.extents.len(),
            packed: lz4_flex::block::compress(&raw).into_boxed_slice(),
        };
        self.extents.clear();
        self.text.clear();
        // One line may have been far longer than a block.
        self.text.shrink_to(2 * BLOCK_BYTES);
        block
    }
}

impl Block {
    fn end(&self) -> u64 {
        self.first + self.lines as u64
    }

    fn unpack(&self) -> Option<Open> {
        let raw = lz4_flex::block::decompress(&self.packed, self.bytes).ok()?;
        let mut rest = raw.as_slice();
        let mut end = 0;
        let mut extents = Vec::with_capacity(self.lines);
        for _ in 0..self.lines {
            let number = take_number(&mut rest)?;
            end += number >> 1;
            extents.push(Extent {
                end,
                wrapped: number & 1 == 1,
            });
        }
        (end == rest.len()).then(|| Open {
            text: rest.to_vec(),
            extents,
        })
    }
}

/// Lines gathered for a reader.
struct Portion {
    next: u64,
    end: u64,
    room: usize,
    lines: Vec<Line>,
}

impl Portion {
    fn done(&self) -> bool {
        self.next >= self.end
    }

    fn take(&mut self, first: u64, block: &Open) {
        let mut start = 0;
        for (id, extent) in (first..).zip(&block.extents) {
            let text = &block.text[start..extent.end];
            start = extent.end;
            if id < self.next {
                continue;
            }
            let fits = text.len() <= self.room || self.lines.is_empty();
            if self.done() || !fits {
                self.end = self.next;
                return;
            }
            self.room = self.room.saturating_sub(text.len());
            self.next += 1;
            self.lines.push(Line {
                text: text.to_vec(),
                wrapped: extent.wrapped,
            });
        }
    }
}

/// Seven bits a byte, the lowest first; the top bit says that more follow.
fn put_number(out: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn take_number(rest: &mut &[u8]) -> Option<usize> {
    let mut number = 0;
    for shift in (0..usize::BITS).step_by(7) {
        let (&byte, behind) = rest.split_first()?;
        *rest = behind;
        number |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;

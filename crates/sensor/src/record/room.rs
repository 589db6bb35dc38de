//! The end of a byte buffer, written in steps of fixed length.

/// The end of a buffer while a record is written to it.
///
/// A `Vec` keeps its length in memory, where each append waits for the one before; here place and capacity stay in
/// registers, as long as a room is a local variable and everything that is given it is inlined. What is too seldom or too
/// large for that goes through [`Room::with_vec`].
///
/// Invariant: `start` is the buffer of `out`, `capacity` its capacity, `at <= capacity`, and the first `at` bytes are
/// initialized.
#[derive(Debug)]
pub(super) struct Room<'a> {
    out: &'a mut Vec<u8>,
    start: *mut u8,
    at: usize,
    capacity: usize,
}

/// Bytes that are copied at once.
pub(super) const STEP: usize = 16;

/// Bytes whose escapes are found at once.
pub(super) const BLOCK: usize = 64;
/// A block and what may be read behind it: a step may begin at its last byte.
pub(super) const WINDOW: usize = BLOCK + STEP;
/// The most bytes that a byte takes in a JSON string.
pub(super) const MAX_ESCAPED: usize = 6;

/// Bytes cut into steps, so that no copy has a variable length: such a copy is a call, and costs more than all the rest for
/// strings as short as header fields are.
///
/// Invariant: `steps` are the first `(len - 1) / STEP` steps of the text; `last` is its last step, which overlaps the one
/// before it, or, where the text is shorter, the text and something behind it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Steps<'a> {
    steps: &'a [[u8; STEP]],
    last: &'a [u8; STEP],
    len: usize,
}

impl<'a> Steps<'a> {
    /// `text`, which stands somewhere in `whole`. `None` where `text` is shorter than a step and there is less than a step in
    /// `whole` from its start on.
    #[inline(always)]
    pub(super) fn of(text: &'a [u8], whole: &'a [u8]) -> Option<Self> {
        let len = text.len();
        if let Some(last) = text.last_chunk() {
            let steps = text.as_chunks().0.get(..(len - 1) / STEP)?;
            return Some(Self { steps, last, len });
        }
        // Where `text` does not stand in `whole`, this is beyond its end.
        let offset = text.as_ptr().addr().wrapping_sub(whole.as_ptr().addr());
        let last = whole.get(offset..).and_then(<[u8]>::first_chunk)?;
        Some(Self { steps: &[], last, len })
    }
}

/// Looks at what is put.
pub(super) trait Mark {
    /// Looks at a step.
    fn mark(&mut self, step: &[u8; STEP]);
    /// Looks at the first `count` bytes of a step, at most all of them.
    fn mark_first(&mut self, step: &[u8; STEP], count: usize);
}

/// Capacity that is asked for when there is none left, beside what is needed.
const GROWTH: usize = 4 << 10;

impl<'a> Room<'a> {
    /// The end of `out`. What is put is in `out` when the room is dropped.
    #[inline(always)]
    pub(super) fn at_end_of(out: &'a mut Vec<u8>) -> Self {
        let (start, at, capacity) = (out.as_mut_ptr(), out.len(), out.capacity());
        Self { out, start, at, capacity }
    }

    /// The length of the buffer.
    #[inline(always)]
    pub(super) const fn len(&self) -> usize {
        self.at
    }

    /// Puts `bytes`.
    #[inline(always)]
    pub(super) fn put<const N: usize>(&mut self, bytes: &[u8; N]) {
        self.put_part(bytes, N);
    }

    /// Puts the first `keep` of `bytes`; all of them when there are no more. Costs as much as putting them all.
    #[inline(always)]
    pub(super) fn put_part<const N: usize>(&mut self, bytes: &[u8; N], keep: usize) {
        if self.capacity - self.at < N {
            self.grow(N);
        }
        // SAFETY: by the invariant, and after `grow`, `N` bytes behind `at` belong to the buffer of `out`, which nothing
        // else can refer to while `self` holds it, `bytes` included. The bytes up to the new `at` are initialized then.
        unsafe { self.start.add(self.at).cast::<[u8; N]>().write_unaligned(*bytes) };
        self.at += if keep < N { keep } else { N };
    }

    /// Puts `bytes`.
    #[inline(always)]
    pub(super) fn put_slice(&mut self, bytes: &[u8]) {
        self.with_vec(|out| out.extend_from_slice(bytes));
    }

    /// Puts `before`, `text` and `after`, and gives the marks of all steps of `text`, as `mark` makes them of a step each.
    #[expect(clippy::pointers_in_nomem_asm_block, reason = "there is no instruction in it")]
    #[inline(always)]
    pub(super) fn put_between<const A: usize, const B: usize, M: Mark>(
        &mut self,
        before: &[u8; A],
        text: Steps<'_>,
        after: &[u8; B],
        mut marks: M,
    ) -> M {
        let most = A + text.len + STEP + B;
        if self.capacity - self.at < most {
            self.grow(most);
        }
        // SAFETY: as in `put_part`. `most` bytes fit: the steps end at most `STEP` bytes behind the text's end, the last
        // step exactly there or, where the text is shorter than a step, within `STEP` of its start.
        unsafe {
            let mut to = self.start.add(self.at);
            to.cast::<[u8; A]>().write_unaligned(*before);
            to = to.add(A);
            let start = to;
            for step in text.steps {
                let step = *step;
                marks.mark(&step);
                to.cast::<[u8; STEP]>().write_unaligned(step);
                to = to.add(STEP);
                // No instruction, but the compiler cannot see that: else it makes one loop of the sixteen bytes' and this
                // one's, eight steps at a time, which is slower and makes the writer nine times as long.
                core::arch::asm!("/* {0} */", inout(reg) to, options(nomem, nostack, preserves_flags, pure));
            }
            let last = *text.last;
            marks.mark_first(&last, if text.len < STEP { text.len } else { STEP });
            start.add(text.len.saturating_sub(STEP)).cast::<[u8; STEP]>().write_unaligned(last);
            start.add(text.len).cast::<[u8; B]>().write_unaligned(*after);
        }
        self.at += A + text.len + B;
        marks
    }

    /// Puts the first `len` bytes of a block, but for those whose bit is set in `escapes` what stands for them: a backslash
    /// and their letter, or, where they have none (0), their number.
    ///
    /// JSON in a body has a quotation mark every few bytes, at distances that no branch predictor foresees; so what lies
    /// between two escapes is put as a whole step, of which the next one overwrites what was too much.
    #[inline(always)]
    pub(super) fn put_block(&mut self, window: &[u8; WINDOW], len: usize, mut escapes: u64, letters: &[u8; 128]) {
        const MOST: usize = BLOCK * MAX_ESCAPED + STEP;
        let len = len.min(BLOCK);
        if self.capacity - self.at < MOST {
            self.grow(MOST);
        }
        let (mut at, mut from) = (self.at, 0);
        // SAFETY: places in `window` up to `len` are followed by at least `STEP` bytes, so each step that begins at or
        // before one can be read. What is kept of the steps, and the escapes, come to at most `MAX_ESCAPED` bytes for each
        // byte of the block, behind which a step writes at most `STEP` more: `MOST` bytes fit, as in `put_part`.
        unsafe {
            loop {
                let to = (escapes.trailing_zeros() as usize).min(len);
                let mut step = from;
                loop {
                    let bytes = window.as_ptr().add(step).cast::<[u8; STEP]>().read_unaligned();
                    self.start.add(at + step - from).cast::<[u8; STEP]>().write_unaligned(bytes);
                    step += STEP;
                    if step >= to {
                        break;
                    }
                }
                at += to - from;
                if to == len {
                    break;
                }
                let byte = *window.as_ptr().add(to);
                let letter = letters[usize::from(byte & 127)];
                let out = self.start.add(at);
                if letter == 0 {
                    out.cast::<[u8; MAX_ESCAPED]>().write_unaligned(escaped(byte));
                    at += MAX_ESCAPED;
                } else {
                    out.cast::<[u8; 2]>().write_unaligned([b'\\', letter]);
                    at += 2;
                }
                from = to + 1;
                escapes &= escapes - 1;
            }
        }
        self.at = at;
    }

    /// Forgets what was put behind the first `len` bytes of the buffer; nothing when there are no more than those.
    #[inline(always)]
    pub(super) fn take_back_to(&mut self, len: usize) {
        self.at = self.at.min(len);
    }

    /// Lets `append` work on the buffer itself.
    #[inline(always)]
    pub(super) fn with_vec<T>(&mut self, append: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        // SAFETY: the invariant.
        unsafe { self.out.set_len(self.at) };
        // Should `append` panic, what it left is not relied on.
        (self.at, self.capacity) = (0, 0);
        let result = append(self.out);
        (self.start, self.at, self.capacity) = (self.out.as_mut_ptr(), self.out.len(), self.out.capacity());
        result
    }

    /// Makes capacity for `more` bytes at the least.
    #[inline(always)]
    fn grow(&mut self, more: usize) {
        #[cold]
        #[inline(never)]
        fn reserve(out: &mut Vec<u8>, more: usize) {
            out.reserve(more + GROWTH);
        }
        self.with_vec(|out| reserve(out, more));
    }
}

/// The escape of a byte that has no letter.
const fn escaped(byte: u8) -> [u8; MAX_ESCAPED] {
    [b'\\', b'u', b'0', b'0', hex_digit(byte >> 4), hex_digit(byte & 15)]
}

/// The lower-case hexadecimal digit of a number below 16.
const fn hex_digit(nibble: u8) -> u8 {
    if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 }
}

impl Drop for Room<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: the invariant.
        unsafe { self.out.set_len(self.at) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_kept_is_appended() {
        let mut out = b"before ".to_vec();
        let mut room = Room::at_end_of(&mut out);
        room.put(b"abcd");
        room.take_back_to(9);
        room.take_back_to(11);
        room.put_part(b"xyz", 1);
        room.put_part(b"z", 7);
        assert_eq!(room.len(), 11);
        room.with_vec(|out| out.extend_from_slice(b" by hand"));
        room.put_slice(b" and a slice");
        drop(room);
        assert_eq!(out, b"before abxz by hand and a slice");
    }

    /// Counts what it is shown.
    struct Shown(Vec<u8>);

    impl Mark for Shown {
        fn mark(&mut self, step: &[u8; STEP]) {
            self.mark_first(step, STEP);
        }

        fn mark_first(&mut self, step: &[u8; STEP], count: usize) {
            self.0.extend_from_slice(&step[..count]);
        }
    }

    /// Each length, at each distance from the end of what it stands in.
    #[test]
    fn text_is_put_and_shown_as_it_is() {
        let whole: Vec<u8> = (0..120).collect();
        for len in 0..100 {
            for behind in 0..20 {
                let at = whole.len() - behind - len;
                let text = &whole[at..at + len];
                let Some(steps) = Steps::of(text, &whole) else {
                    assert!(len < STEP && len + behind < STEP, "{len} with {behind} behind");
                    continue;
                };
                let mut out = vec![b'x'];
                let shown = Room::at_end_of(&mut out).put_between(b"<<", steps, b">", Shown(Vec::new()));
                assert_eq!(out, [b"x<<", text, b">"].concat());
                let expected = if len % STEP == 0 || len < STEP {
                    text.to_vec()
                } else {
                    [&text[..len / STEP * STEP], &text[len - STEP..]].concat()
                };
                assert_eq!(shown.0, expected);
            }
        }
        assert!(Steps::of(b"elsewhere", &whole).is_none());
    }

    /// From no capacity on, whatever the vector's growth leaves of it.
    #[test]
    fn it_grows() {
        let mut out = Vec::new();
        let mut expected = Vec::new();
        let mut room = Room::at_end_of(&mut out);
        for n in 0..20_000_u32 {
            room.put(&n.to_be_bytes());
            expected.extend_from_slice(&n.to_be_bytes());
            if n % 1_000 == 0 {
                room.with_vec(Vec::shrink_to_fit);
            }
        }
        assert_eq!(room.len(), expected.len());
        drop(room);
        assert_eq!(out, expected);
    }
}

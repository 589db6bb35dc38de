//! Classic BPF programs.

/// A filter program, checked once, then run over frames as captured.
///
/// libpcap compiles filters and can run them too, but its binding for Rust gives the program the captured length where
/// it asks for the length on the wire: `greater 1000` would miss every frame that the capture cut. So the program is run
/// here, which also keeps a call across languages out of the packet path. Semantics: McCanne and Jacobson, "The BSD
/// Packet Filter" (1993), as libpcap's `bpf_filter.c` has them: a load beyond the captured bytes and a division by zero
/// reject the frame.
#[derive(Debug)]
pub(super) struct Program(Vec<Operation>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    /// A or X, from a packet at a fixed offset, or at one relative to X.
    Load {
        size: Size,
        at: u32,
        indexed: bool,
    },
    LoadValue(u32),
    LoadLength,
    LoadMemory(usize),
    /// X := 4 × the low nibble of a byte: an IPv4 header's length.
    IndexHeaderLength(u32),
    IndexValue(u32),
    IndexLength,
    IndexMemory(usize),
    Store(usize),
    StoreIndex(usize),
    Compute(Arithmetic, Operand),
    Negate,
    Jump(usize),
    /// Where to go on, as an index, when the comparison holds and when it does not.
    Branch(Comparison, Operand, usize, usize),
    Return(u32),
    ReturnA,
    ToIndex,
    FromIndex,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    Word,
    Half,
    Byte,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operand {
    Value(u32),
    Index,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Or,
    And,
    ShiftLeft,
    ShiftRight,
    Remainder,
    Xor,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    Greater,
    AtLeast,
    AnySet,
}

/// Cells of scratch memory.
const MEMORY: usize = 16;

/// More headers than this are not followed: a program could go round for ever.
const MOST_JUMPS: u32 = 4096;

impl Program {
    /// The program of these instructions: operation, jump if true, jump if false, value.
    ///
    /// None when an instruction is unknown, jumps out of the program, names memory that is not there, or when the
    /// program's end can be fallen off.
    pub(super) fn new(instructions: impl IntoIterator<Item = (u16, u8, u8, u32)>) -> Option<Self> {
        let mut operations = Vec::new();
        for (index, instruction) in instructions.into_iter().enumerate() {
            operations.push(Operation::new(index + 1, instruction)?);
        }
        let inside = operations.iter().all(|operation| match *operation {
            Operation::Jump(to) => to < operations.len(),
            Operation::Branch(_, _, yes, no) => yes < operations.len() && no < operations.len(),
            _ => true,
        });
        let ends = matches!(operations.last()?, Operation::Return(_) | Operation::ReturnA);
        (inside && ends).then_some(Self(operations))
    }

    /// Whether the program accepts a frame.
    pub(super) fn accepts(&self, frame: &[u8], wire_len: u32) -> bool {
        self.run(frame, wire_len).is_some_and(|verdict| verdict != 0)
    }

    /// The program's verdict; none when it loads beyond the frame or divides by zero.
    fn run(&self, frame: &[u8], wire_len: u32) -> Option<u32> {
        let (mut a, mut x) = (0_u32, 0_u32);
        let mut memory = [0_u32; MEMORY];
        let mut next = 0;
        let mut jumps = MOST_JUMPS;
        loop {
            let operation = *self.0.get(next)?;
            next += 1;
            match operation {
                Operation::Load { size, at, indexed: false } => a = load(frame, size, at as usize)?,
                Operation::Load { size, at, indexed: true } => a = load(frame, size, at.checked_add(x)? as usize)?,
                Operation::LoadValue(value) => a = value,
                Operation::LoadLength => a = wire_len,
                Operation::LoadMemory(cell) => a = *memory.get(cell)?,
                Operation::IndexHeaderLength(at) => x = (load(frame, Size::Byte, at as usize)? & 0x0f) * 4,
                Operation::IndexValue(value) => x = value,
                Operation::IndexLength => x = wire_len,
                Operation::IndexMemory(cell) => x = *memory.get(cell)?,
                Operation::Store(cell) => *memory.get_mut(cell)? = a,
                Operation::StoreIndex(cell) => *memory.get_mut(cell)? = x,
                Operation::Compute(arithmetic, operand) => a = arithmetic.apply(a, operand.value(x))?,
                Operation::Negate => a = a.wrapping_neg(),
                Operation::Jump(to) => {
                    jumps = jumps.checked_sub(1)?;
                    next = to;
                }
                Operation::Branch(comparison, operand, yes, no) => {
                    next = if comparison.holds(a, operand.value(x)) { yes } else { no };
                }
                Operation::Return(value) => return Some(value),
                Operation::ReturnA => return Some(a),
                Operation::ToIndex => x = a,
                Operation::FromIndex => a = x,
            }
        }
    }
}

impl Operation {
    /// Reads one instruction; `next` is the index of the one behind it.
    fn new(next: usize, (code, yes, no, k): (u16, u8, u8, u32)) -> Option<Self> {
        let cell = || usize::try_from(k).ok().filter(|&cell| cell < MEMORY);
        let operand = if code & 0x08 == 0 { Operand::Value(k) } else { Operand::Index };
        let branch = |comparison| Self::Branch(comparison, operand, next + usize::from(yes), next + usize::from(no));
        let compute = |arithmetic| Self::Compute(arithmetic, operand);
        // The class is in the lowest three bits; then size and mode, or operation and operand.
        Some(match code {
            0x20 => Self::Load { size: Size::Word, at: k, indexed: false },
            0x28 => Self::Load { size: Size::Half, at: k, indexed: false },
            0x30 => Self::Load { size: Size::Byte, at: k, indexed: false },
            0x40 => Self::Load { size: Size::Word, at: k, indexed: true },
            0x48 => Self::Load { size: Size::Half, at: k, indexed: true },
            0x50 => Self::Load { size: Size::Byte, at: k, indexed: true },
            0x00 => Self::LoadValue(k),
            0x80 => Self::LoadLength,
            0x60 => Self::LoadMemory(cell()?),
            0xb1 => Self::IndexHeaderLength(k),
            0x01 => Self::IndexValue(k),
            0x81 => Self::IndexLength,
            0x61 => Self::IndexMemory(cell()?),
            0x02 => Self::Store(cell()?),
            0x03 => Self::StoreIndex(cell()?),
            0x04 | 0x0c => compute(Arithmetic::Add),
            0x14 | 0x1c => compute(Arithmetic::Subtract),
            0x24 | 0x2c => compute(Arithmetic::Multiply),
            0x34 | 0x3c => compute(Arithmetic::Divide),
            0x44 | 0x4c => compute(Arithmetic::Or),
            0x54 | 0x5c => compute(Arithmetic::And),
            0x64 | 0x6c => compute(Arithmetic::ShiftLeft),
            0x74 | 0x7c => compute(Arithmetic::ShiftRight),
            0x94 | 0x9c => compute(Arithmetic::Remainder),
            0xa4 | 0xac => compute(Arithmetic::Xor),
            0x84 => Self::Negate,
            // The one jump that may go backward, for the header chains of `protochain`.
            0x05 => Self::Jump(next.checked_add_signed(k.cast_signed() as isize)?),
            0x15 | 0x1d => branch(Comparison::Equal),
            0x25 | 0x2d => branch(Comparison::Greater),
            0x35 | 0x3d => branch(Comparison::AtLeast),
            0x45 | 0x4d => branch(Comparison::AnySet),
            0x06 => Self::Return(k),
            0x16 => Self::ReturnA,
            0x07 => Self::ToIndex,
            0x87 => Self::FromIndex,
            _ => return None,
        })
    }
}

impl Operand {
    const fn value(self, x: u32) -> u32 {
        match self {
            Self::Value(value) => value,
            Self::Index => x,
        }
    }
}

impl Arithmetic {
    fn apply(self, a: u32, b: u32) -> Option<u32> {
        Some(match self {
            Self::Add => a.wrapping_add(b),
            Self::Subtract => a.wrapping_sub(b),
            Self::Multiply => a.wrapping_mul(b),
            Self::Divide => a.checked_div(b)?,
            Self::Or => a | b,
            Self::And => a & b,
            // Shifting everything out leaves nothing.
            Self::ShiftLeft => a.checked_shl(b).unwrap_or(0),
            Self::ShiftRight => a.checked_shr(b).unwrap_or(0),
            Self::Remainder => a.checked_rem(b)?,
            Self::Xor => a ^ b,
        })
    }
}

impl Comparison {
    const fn holds(self, a: u32, b: u32) -> bool {
        match self {
            Self::Equal => a == b,
            Self::Greater => a > b,
            Self::AtLeast => a >= b,
            Self::AnySet => a & b != 0,
        }
    }
}

/// A number of the frame, in network byte order; none beyond its end.
fn load(frame: &[u8], size: Size, at: usize) -> Option<u32> {
    let rest = frame.get(at..)?;
    Some(match size {
        Size::Word => u32::from_be_bytes(*rest.first_chunk()?),
        Size::Half => u32::from(u16::from_be_bytes(*rest.first_chunk()?)),
        Size::Byte => u32::from(*rest.first()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCEPT: (u16, u8, u8, u32) = (0x06, 0, 0, 1);
    const REJECT: (u16, u8, u8, u32) = (0x06, 0, 0, 0);

    fn run(instructions: &[(u16, u8, u8, u32)], frame: &[u8]) -> Option<u32> {
        Program::new(instructions.iter().copied()).unwrap().run(frame, 1500)
    }

    #[test]
    fn programs_that_could_run_away_are_refused() {
        let refused = |instructions: &[(u16, u8, u8, u32)]| Program::new(instructions.iter().copied()).is_none();
        assert!(refused(&[]));
        assert!(refused(&[(0x00, 0, 0, 1)]), "falls off the end");
        assert!(refused(&[(0x15, 1, 2, 0), ACCEPT, REJECT]), "jumps beyond the end");
        assert!(refused(&[(0x05, 0, 0, 7), REJECT]), "jumps far beyond the end");
        assert!(refused(&[(0x05, 0, 0, u32::MAX - 1), REJECT]), "jumps to before the start");
        assert!(refused(&[(0x02, 0, 0, 16), REJECT]), "no such memory");
        assert!(refused(&[(0xff, 0, 0, 0), REJECT]), "no such instruction");
        assert!(!refused(&[(0x15, 0, 1, 0), ACCEPT, REJECT]));
    }

    #[test]
    fn loads_are_bounded_and_in_network_order() {
        let frame = [1, 2, 3, 4, 0x45];
        assert_eq!(run(&[(0x20, 0, 0, 0), (0x16, 0, 0, 0)], &frame), Some(0x0102_0304));
        assert_eq!(run(&[(0x20, 0, 0, 2), (0x16, 0, 0, 0)], &frame), None);
        assert_eq!(run(&[(0x28, 0, 0, 3), (0x16, 0, 0, 0)], &frame), Some(0x0445));
        assert_eq!(run(&[(0x30, 0, 0, 5), (0x16, 0, 0, 0)], &frame), None);
        assert_eq!(run(&[(0x30, 0, 0, u32::MAX), (0x16, 0, 0, 0)], &frame), None);
        assert_eq!(run(&[(0xb1, 0, 0, 4), (0x87, 0, 0, 0), (0x16, 0, 0, 0)], &frame), Some(20));
        assert_eq!(run(&[(0x01, 0, 0, 2), (0x50, 0, 0, 1), (0x16, 0, 0, 0)], &frame), Some(4));
        assert_eq!(run(&[(0x01, 0, 0, 2), (0x50, 0, 0, u32::MAX), (0x16, 0, 0, 0)], &frame), None);
    }

    #[test]
    fn lengths_are_those_on_the_wire() {
        assert_eq!(run(&[(0x80, 0, 0, 0), (0x16, 0, 0, 0)], &[]), Some(1500));
        assert_eq!(run(&[(0x81, 0, 0, 0), (0x87, 0, 0, 0), (0x16, 0, 0, 0)], &[]), Some(1500));
    }

    #[test]
    fn arithmetic_wraps_and_never_traps() {
        let compute = |code, a, b| run(&[(0x00, 0, 0, a), (code, 0, 0, b), (0x16, 0, 0, 0)], &[]);
        assert_eq!(compute(0x04, u32::MAX, 2), Some(1));
        assert_eq!(compute(0x14, 1, 2), Some(u32::MAX));
        assert_eq!(compute(0x24, 1 << 31, 2), Some(0));
        assert_eq!(compute(0x34, 7, 2), Some(3));
        assert_eq!(compute(0x34, 7, 0), None);
        assert_eq!(compute(0x94, 7, 0), None);
        assert_eq!(compute(0x64, 1, 32), Some(0));
        assert_eq!(compute(0x74, 1 << 31, 31), Some(1));
        assert_eq!(compute(0xa4, 6, 3), Some(5));
        assert_eq!(compute(0x84, 1, 0), Some(u32::MAX));
    }

    #[test]
    fn memory_and_jumps() {
        let program = [(0x00, 0, 0, 7), (0x02, 0, 0, 3), (0x05, 0, 0, 1), REJECT, (0x61, 0, 0, 3), (0x87, 0, 0, 0)];
        let program = [&program[..], &[(0x1d, 0, 1, 0), ACCEPT, REJECT]].concat();
        assert_eq!(run(&program, &[]), Some(1));
        assert_eq!(run(&[(0x05, 0, 0, u32::MAX), ACCEPT], &[]), None, "goes round for ever");
    }
}

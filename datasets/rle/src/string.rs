//! COCO's compressed string: each run as signed 6-bit digits in the characters `0`..=`o`.
//!
//! From the fourth run on, the difference to the run two before is written, which is small where
//! neighbouring columns look alike. A digit carries 5 bits, lowest first, and a flag that more follow;
//! the highest digit's top bit is the sign (like LEB128).

use crate::{Rle, RleError};

/// First character of the alphabet.
const ZERO: u8 = b'0';
/// More digits follow.
const MORE: u8 = 0x20;
/// In the highest digit: the number is negative.
const SIGN: u8 = 0x10;
/// Digits of the longest number: a difference of two 32-bit runs has 33 bits with its sign.
const MAX_DIGITS: u32 = 7;

impl Rle {
    /// From COCO's compressed string form.
    ///
    /// # Errors
    /// If the string has characters outside `0`..=`o`, ends within a run, holds a run that is negative
    /// or above 32 bits, or its runs do not add up to `height * width`.
    pub fn from_string(height: u32, width: u32, s: &str) -> Result<Self, RleError> {
        let mut counts: Vec<u32> = Vec::new();
        let mut bytes = s.bytes().enumerate();
        while let Some(first) = bytes.next() {
            let run = counts.len();
            let difference = read_number(first, &mut bytes, run)?;
            let base = if run > 2 {
                i64::from(counts[run - 2])
            } else {
                0
            };
            let count =
                u32::try_from(base + difference).map_err(|_| RleError::InvalidRun { run })?;
            counts.push(count);
        }
        Self::from_counts(height, width, counts)
    }

    /// COCO's compressed string form.
    pub fn to_coco_string(&self) -> String {
        let counts = self.counts();
        let mut s = String::with_capacity(counts.len() * 2);
        for (i, &count) in counts.iter().enumerate() {
            let base = if i > 2 { counts[i - 2] } else { 0 };
            write_number(&mut s, i64::from(count) - i64::from(base));
        }
        s
    }
}

/// One number, whose first digit was read already, of the given run.
fn read_number(
    first: (usize, u8),
    rest: &mut impl Iterator<Item = (usize, u8)>,
    run: usize,
) -> Result<i64, RleError> {
    let mut number = 0i64;
    let mut next = Some(first);
    for place in 0..MAX_DIGITS {
        let (offset, byte) = next.ok_or(RleError::Truncated { run })?;
        let digit = byte.wrapping_sub(ZERO);
        if digit >= 64 {
            return Err(RleError::InvalidByte { offset, byte });
        }
        number |= i64::from(digit & 0x1f) << (5 * place);
        if digit & MORE == 0 {
            if digit & SIGN != 0 {
                number |= -1 << (5 * (place + 1));
            }
            return Ok(number);
        }
        next = rest.next();
    }
    Err(RleError::InvalidRun { run })
}

fn write_number(s: &mut String, mut number: i64) {
    loop {
        let digit = (number & 0x1f) as u8;
        number >>= 5;
        // Done when what is left only repeats this digit's sign bit.
        let done = number == if digit & SIGN != 0 { -1 } else { 0 };
        s.push(char::from(ZERO + if done { digit } else { digit | MORE }));
        if done {
            return;
        }
    }
}

//! The fuzzer's bytes as a source of choices.

/// Bytes that are taken from the front; where there are none left, every choice is the first one.
pub struct Bytes<'a>(pub &'a [u8]);

impl<'a> Bytes<'a> {
    pub fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    pub fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    pub fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::from(self.byte()) % choices.len()]
    }

    /// Some bytes whose number is a byte before them.
    pub fn some(&mut self) -> &'a [u8] {
        let count = self.byte();
        self.take(usize::from(count))
    }

    /// Changes bits of a copy of `valid`: each change is two bytes of place and one of the bit.
    pub fn flip_bits(&mut self, valid: &[u8]) -> Vec<u8> {
        let mut flipped = valid.to_vec();
        while !self.0.is_empty() {
            let place = usize::from(u16::from_le_bytes([self.byte(), self.byte()])) % valid.len();
            flipped[place] ^= 1 << (self.byte() % 8);
        }
        flipped
    }
}

//! Random numbers that depend on the seed only: splitmix64. A fuzzer may give the first numbers.

/// A stream of random numbers; not for secrets.
#[derive(Clone, Debug, Default)]
pub struct Random {
    state: u64,
    /// Numbers that are drawn before those of the state, the last one first.
    given: Vec<u16>,
}

impl Random {
    /// The stream of this seed.
    pub fn new(seed: u64) -> Self {
        Self { state: seed, given: Vec::new() }
    }

    /// The stream whose first numbers are these, each of two bytes: a fuzzer that changes one byte changes one decision.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let numbers = bytes.chunks_exact(2).rev();
        Self { state: 0, given: numbers.map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect() }
    }

    /// Whether the numbers that a fuzzer gave have all been drawn.
    pub fn is_spent(&self) -> bool {
        self.given.is_empty()
    }

    /// The next number of the stream.
    pub fn draw(&mut self) -> u64 {
        if let Some(given) = self.given.pop() {
            return given.into();
        }
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below the bound, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.draw() % bound as u64) as usize
    }

    /// True with this probability in percent.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of the items.
    pub fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }
}

//! The only source of chance in a run.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Chance from a seed: the same seed throws the same dice.
#[derive(Debug)]
pub struct Dice {
    rng: StdRng,
}

impl Dice {
    /// Dice for `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { rng: StdRng::seed_from_u64(seed) }
    }

    /// A number in `low..=high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        self.rng.random_range(low..=high)
    }

    /// True in `permille` of 1000 throws.
    pub fn chance(&mut self, permille: u64) -> bool {
        permille > 0 && self.between(0, 999) < permille
    }

    /// One of `choices`.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        let at = self.between(0, choices.len() as u64 - 1);
        &choices[usize::try_from(at).unwrap()]
    }
}

//! A soak with real processes: `soak [--messages N] [--pairing P] [--seed S]`; `tests/run --soak` builds and calls it.

use anyhow::{Context as _, bail};
use cityrelay_tests::process::play;
use cityrelay_tests::process::soak::{Order, soak};

fn main() -> anyhow::Result<()> {
    let mut order = Order { messages: 1_000_000, pairing: "mixed".to_owned(), seed: rand::random() };
    let mut arguments = std::env::args().skip(1);
    while let Some(option) = arguments.next() {
        let value = arguments.next().with_context(|| format!("{option} needs a value"))?;
        let number = || value.parse::<u64>().with_context(|| format!("{option}: expected a number, got {value:?}"));
        match option.as_str() {
            "--messages" => order.messages = number()?,
            "--pairing" => order.pairing = value,
            "--seed" => order.seed = number()?,
            _ => bail!("unknown option {option} (known: --messages N, --pairing P, --seed S)"),
        }
    }
    println!("the same blows again: --seed {}", order.seed);
    play("soak", async |dir| soak(&dir, &order).await);
    Ok(())
}

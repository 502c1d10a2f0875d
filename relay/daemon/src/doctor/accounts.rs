//! The account with which this process pays on a chain: whether its transactions go on, and for how many more it pays.

use std::time::Duration;

use cityrelay_api::inspect::TransactionCounts;
use cityrelay_api::source::NodeError;
use cityrelay_api::target::Funds;
use cityrelay_core::ids::Height;
use tokio::time::{Instant, sleep};

use super::{Area, Finding, Instance, Repair};
use crate::config::settings::ChainConfig;

/// Looks at the account; nothing where this process has none on the chain.
pub async fn account(chain: &ChainConfig, instance: &Instance) -> Vec<Finding> {
    let Some(target) = chain.chain.target() else { return Vec::new() };
    let account = target.account();
    let subject = format!("account {account} on {}", chain.name);
    let unread = |error: NodeError| {
        let words = format!("could not be looked at: {error}");
        Area::Accounts.warning(&subject, words, instance.ask_nodes(&chain.name).advice("mend its nodes first"))
    };
    let queue = match look_twice(chain).await {
        Err(error) => unread(error),
        Ok(None) => Area::Accounts.ok(&subject, "this chain numbers no transactions: there can be no gap"),
        Ok(Some(looks)) => queue(&subject, &looks, &chain.name, instance),
    };
    let funds = match target.funds().await {
        Err(error) => unread(error),
        Ok(Funds::NotNeeded) => Area::Accounts.ok(&subject, "needs no funds"),
        Ok(Funds::Left { wei, transactions }) => {
            let words = format!("{wei} wei: enough for about {transactions} of our largest transactions");
            match transactions {
                0 => Area::Accounts.broken(&subject, words, fund(&chain.name, instance)),
                1..FEW_TRANSACTIONS => Area::Accounts.warning(&subject, words, fund(&chain.name, instance)),
                _ => Area::Accounts.ok(&subject, words),
            }
        }
    };
    vec![queue, funds]
}

/// The account's transactions at two moments, and how many blocks came between them.
#[derive(Clone, Copy, Debug)]
struct Looks {
    first: TransactionCounts,
    then: TransactionCounts,
    blocks: u64,
}

/// Where transactions wait, a few blocks are waited for: they must take some.
async fn look_twice(chain: &ChainConfig) -> Result<Option<Looks>, NodeError> {
    let Some(target) = chain.chain.target() else { return Ok(None) };
    let (inspect, source) = (chain.chain.inspect(), chain.chain.source());
    let Some(first) = inspect.transactions(target.account()).await? else { return Ok(None) };
    let Height(from) = source.tip().await?;
    let mut looks = Looks { first, then: first, blocks: 0 };
    let deadline = Instant::now() + LOOK_FOR;
    while looks.then.with_waiting > first.mined && looks.then.mined == first.mined && looks.blocks < FEW_BLOCKS {
        if Instant::now() >= deadline {
            break;
        }
        sleep(chain.poll_interval).await;
        looks.blocks = source.tip().await?.0.saturating_sub(from);
        looks.then = inspect.transactions(target.account()).await?.unwrap_or(looks.then);
    }
    Ok(Some(looks))
}

fn queue(subject: &str, looks: &Looks, chain: &str, instance: &Instance) -> Finding {
    let Looks { first, then, blocks } = *looks;
    let next = then.mined;
    let waiting = then.with_waiting.saturating_sub(next);
    if let Some(behind @ 1..) = then.behind_gap {
        let missing = then.with_waiting;
        return Area::Accounts.broken(
            subject,
            format!("transaction number {missing} is missing: {behind} with higher numbers wait behind the gap"),
            follow(chain, instance).advice(
                "the next transaction of this account takes the missing number; no other program may use the account",
            ),
        );
    }
    if waiting > 0 && then.mined == first.mined && blocks >= FEW_BLOCKS {
        return Area::Accounts.warning(
            subject,
            format!(
                "transaction number {next} waits and {blocks} blocks have not taken it: {} more wait behind it",
                waiting - 1
            ),
            follow(chain, instance).advice(
                "ours is replaced by a dearer one by itself; else see chains.*.account.gas_price, or a full pool",
            ),
        );
    }
    let words = format!("{next} transactions in blocks, {waiting} waiting");
    if waiting > MANY_WAITING {
        let repair =
            follow(chain, instance).advice("blocks take too few: see chains.*.account.gas_price, or a full pool");
        return Area::Accounts.warning(subject, words, repair);
    }
    Area::Accounts.ok(subject, words)
}

/// The daemon follows what it has sent, sends it again where nodes forgot it, and replaces what is too cheap.
fn follow(chain: &str, instance: &Instance) -> Repair {
    if instance.runs() { instance.cityrelay(["retry", "--chain", chain]) } else { instance.restart() }
}

fn fund(chain: &str, instance: &Instance) -> Repair {
    let key = format!("chains.{chain}.account.key_file");
    match instance.path(&key) {
        Some(file) => {
            let file = file.display().to_string();
            instance.cityrelay(["keys", "show", &file]).advice("have funds sent to the account that this prints")
        }
        None => instance.edit(&key),
    }
}

/// Blocks that come while a transaction waits; more than one, since a block may have been under way.
const FEW_BLOCKS: u64 = 3;

/// How long such blocks are waited for.
const LOOK_FOR: Duration = Duration::from_secs(15);

/// More transactions than this in a pool at once are a sign that blocks take none.
const MANY_WAITING: u64 = 64;

/// With fewer transactions left than this it is time to send funds.
const FEW_TRANSACTIONS: u64 = 100;

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::super::instance::example;
    use super::*;

    fn counts(mined: u64, with_waiting: u64, behind_gap: Option<u64>) -> TransactionCounts {
        TransactionCounts { mined, with_waiting, behind_gap }
    }

    fn look(first: TransactionCounts, then: TransactionCounts, blocks: u64) -> Finding {
        queue("account", &Looks { first, then, blocks }, "north", &example(true))
    }

    #[test]
    fn a_gap_is_broken_and_names_the_missing_number() {
        let held = counts(5, 6, Some(2));
        let finding = look(held, held, 3);
        assert_eq!(finding.verdict(), Verdict::Broken);
        assert!(finding.words().contains("number 6 is missing: 2 with"), "{finding}");
        let command = finding.repair().unwrap().command();
        assert_eq!(command, "cityrelay --config /etc/cityrelay/example/x.toml retry --chain north");
    }

    #[test]
    fn what_blocks_do_not_take_is_a_warning() {
        let waits = counts(5, 8, Some(0));
        let finding = look(waits, waits, FEW_BLOCKS);
        assert_eq!(finding.verdict(), Verdict::Warning);
        assert!(finding.words().contains("number 5 waits") && finding.words().contains("2 more"), "{finding}");
        // Without blocks nothing can be said of it; with a node that does not tell neither.
        assert_eq!(look(waits, waits, 0).verdict(), Verdict::Ok);
        assert_eq!(look(waits, counts(6, 8, None), FEW_BLOCKS).verdict(), Verdict::Ok);
        assert_eq!(look(counts(5, 5, None), counts(5, 5, None), 0).verdict(), Verdict::Ok);
        let many = counts(5, 6 + MANY_WAITING, None);
        assert_eq!(look(many, many, 0).verdict(), Verdict::Warning);
    }
}

//! What a node says of itself that keeps it from getting new blocks.
//!
//! A chain without transactions makes no block, so silence tells nothing. What a node knows of the others does: which
//! of them it reaches, where they are, and whether a quorum agrees with it on a view.

use cityrelay_api::source::NodeError;
use serde_json::{Value, json};

use super::endpoint::Endpoint;

impl Endpoint {
    /// Why this node gets no new blocks, in words; `None` where it says nothing of the kind. A moment of it is ordinary:
    /// a node that starts has asked nobody yet.
    pub async fn ailment(&self) -> Result<Option<String>, NodeError> {
        let Some(consensus) = self.own_account("getConsensusStatus", vec![json!(self.node)]).await? else {
            return Ok(None);
        };
        let peers = self.own_account("getGroupPeers", Vec::new()).await?;
        let sync = self.own_account("getSyncStatus", vec![json!(self.node)]).await?;
        Ok(Consensus::read(&consensus).and_then(|consensus| consensus.ailment(peers.as_ref(), sync.as_ref())))
    }

    /// What the node says under `method`, as an object or a list, or as the text of one (`PBFTImpl.cpp`,
    /// `BlockSync.cpp`); `None` where it does not offer that.
    async fn own_account(&self, method: &'static str, params: Vec<Value>) -> Result<Option<Value>, NodeError> {
        match self.call(method, params).await {
            Ok(Value::String(text)) => Ok(serde_json::from_str(&text).ok()),
            Ok(value) => Ok(Some(value)),
            Err(NodeError::Rpc { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// `getConsensusStatus` (`bcos-pbft/pbft/PBFTImpl.cpp:asyncGetConsensusStatus`, the same fields from v3.0.0 to v3.16.4).
#[derive(Debug)]
struct Consensus {
    sealers: Vec<(String, u64)>,
    /// The weight that a block needs; 1 where one sealer decides alone.
    quorum: u64,
    /// The weight that may lie.
    max_faulty: u64,
    /// Nodes of the group that it reaches, itself among them.
    connected: usize,
    /// It has left its view and no quorum has followed; observers never say so.
    has_timed_out: bool,
}

impl Consensus {
    fn read(status: &Value) -> Option<Self> {
        let number = |field: &str| status.get(field).and_then(Value::as_u64);
        let sealers = status.get("consensusNodeList")?.as_array()?;
        let sealers = sealers.iter().map(|sealer| Some((id_of(sealer)?, sealer.get("weight")?.as_u64()?)));
        Some(Self {
            sealers: sealers.collect::<Option<Vec<_>>>()?,
            quorum: number("minRequiredQuorum")?,
            max_faulty: number("maxFaultyQuorum")?,
            connected: usize::try_from(number("connectedNodeList")?).ok()?,
            has_timed_out: status.get("timeout").and_then(Value::as_bool)?,
        })
    }

    fn ailment(&self, peers: Option<&Value>, sync: Option<&Value>) -> Option<String> {
        let reached = self.reached(peers);
        if reached < self.quorum {
            let quorum = self.quorum;
            return Some(format!("it reaches sealers of weight {reached} at most, a block needs {quorum}"));
        }
        if let Some((at, ahead)) = sync.and_then(|sync| self.ahead(sync)).filter(|(_, ahead)| *ahead > self.max_faulty)
        {
            return Some(format!("it is at block {at} and sealers of weight {ahead} are ahead of it"));
        }
        self.has_timed_out
            .then(|| "it has left its view, and no quorum of sealers agrees with it on another".to_owned())
    }

    /// The weight that it reaches at most. The gateway's list names whom it reaches; before v3.1.0 it left out those behind
    /// other nodes, so a list that is shorter than the node's own count tells nothing. The count alone tells what the
    /// heaviest sealers of that number weigh.
    fn reached(&self, peers: Option<&Value>) -> u64 {
        let mut weights: Vec<u64> = self.sealers.iter().map(|(_, weight)| *weight).collect();
        weights.sort_unstable_by(|one, other| other.cmp(one));
        let by_count: u64 = weights.iter().take(self.connected).sum();
        let named: Option<Vec<String>> = peers
            .and_then(Value::as_array)
            .filter(|peers| peers.len() >= self.connected)
            .and_then(|peers| peers.iter().map(|peer| peer.as_str().map(str::to_ascii_lowercase)).collect());
        named.map_or(by_count, |named| {
            let is_named = |(id, _): &&(String, u64)| named.contains(id);
            self.sealers.iter().filter(is_named).map(|(_, weight)| *weight).sum::<u64>().min(by_count)
        })
    }

    /// Its height and the weight of the sealers that have told it of a higher block
    /// (`bcos-sync/BlockSync.cpp:asyncGetSyncInfo`).
    fn ahead(&self, sync: &Value) -> Option<(u64, u64)> {
        let at = sync.get("blockNumber")?.as_u64()?;
        let is_ahead = |peer: &&Value| peer.get("blockNumber").and_then(Value::as_u64).is_some_and(|peer| peer > at);
        let ahead: Vec<String> = sync.get("peers")?.as_array()?.iter().filter(is_ahead).filter_map(id_of).collect();
        let weight = self.sealers.iter().filter(|(id, _)| ahead.contains(id)).map(|(_, weight)| *weight).sum();
        Some((at, weight))
    }
}

fn id_of(node: &Value) -> Option<String> {
    node.get("nodeID").and_then(Value::as_str).map(str::to_ascii_lowercase)
}

/// One account of several nodes that were asked: something ails the chain only while every one that answers says so.
///
/// # Errors
/// The last error, where none answers.
pub(super) fn combined(
    answers: Vec<(String, Result<Option<String>, NodeError>)>,
    nobody: NodeError,
) -> Result<Option<String>, NodeError> {
    let (mut words, mut last) = (Vec::new(), nobody);
    for (name, answer) in answers {
        match answer {
            Ok(Some(ailment)) => words.push(format!("{name}: {ailment}")),
            Ok(None) => return Ok(None),
            Err(error) => last = error,
        }
    }
    if words.is_empty() { Err(last) } else { Ok(Some(words.join("; "))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four sealers of weight 1, as a node shows them that reaches all.
    fn status() -> Value {
        let sealers: Vec<Value> = ["a1", "b2", "c3", "d4"].map(|id| json!({ "nodeID": id, "weight": 1 })).to_vec();
        json!({
            "consensusNodeList": sealers,
            "minRequiredQuorum": 3,
            "maxFaultyQuorum": 1,
            "connectedNodeList": 4,
            "timeout": false,
        })
    }

    fn ailment(status: &Value, peers: Option<Value>, sync: Option<Value>) -> Option<String> {
        Consensus::read(status)?.ailment(peers.as_ref(), sync.as_ref())
    }

    fn with(field: &str, value: Value) -> Value {
        let mut status = status();
        status[field] = value;
        status
    }

    #[test]
    fn a_node_that_reaches_a_quorum_is_well() {
        assert_eq!(ailment(&status(), None, None), None);
        assert_eq!(ailment(&with("connectedNodeList", json!(3)), None, None), None);
        assert_eq!(ailment(&with("connectedNodeList", json!(3)), Some(json!(["A1", "b2", "c3"])), None), None);
    }

    #[test]
    fn fewer_connected_sealers_than_a_quorum_ail_it() {
        let few = ailment(&with("connectedNodeList", json!(2)), None, None).unwrap();
        assert!(few.contains("weight 2 at most, a block needs 3"), "{few}");
        // Observers count as connected, and seal nothing.
        let peers = json!(["a1", "b2", "0e", "0f"]);
        let few = ailment(&status(), Some(peers), None).unwrap();
        assert!(few.contains("weight 2 at most"), "{few}");
        // A list that leaves nodes out tells nothing.
        assert_eq!(ailment(&status(), Some(json!(["a1"])), None), None);
        assert_eq!(ailment(&status(), Some(json!([])), None), None);
    }

    #[test]
    fn weights_count_and_not_heads() {
        let mut heavy = with("minRequiredQuorum", json!(5));
        heavy["consensusNodeList"][3]["weight"] = json!(4);
        heavy["connectedNodeList"] = json!(2);
        assert_eq!(ailment(&heavy, None, None), None, "the heavy one may be among them");
        assert!(ailment(&heavy, Some(json!(["a1", "b2"])), None).is_some(), "it is not");
        // One sealer may be set to decide alone.
        let alone = json!({
            "consensusNodeList": [{ "nodeID": "a1", "weight": 1 }, { "nodeID": "b2", "weight": 1 }],
            "minRequiredQuorum": 1, "maxFaultyQuorum": 0, "connectedNodeList": 1, "timeout": false,
        });
        assert_eq!(ailment(&alone, None, None), None);
    }

    #[test]
    fn a_node_behind_more_sealers_than_may_lie_is_behind() {
        let sync = |ahead: &[&str]| {
            let peers: Vec<Value> = ["b2", "c3", "d4", "0e"]
                .iter()
                .map(|id| json!({ "nodeID": id, "blockNumber": if ahead.contains(id) { 9 } else { 5 } }))
                .collect();
            Some(json!({ "blockNumber": 5, "peers": peers }))
        };
        assert_eq!(ailment(&status(), None, sync(&[])), None);
        assert_eq!(ailment(&status(), None, sync(&["b2", "0e"])), None, "one may lie, and observers decide nothing");
        assert!(ailment(&status(), None, sync(&["b2", "c3"])).unwrap().contains("block 5 and sealers of weight 2"));
    }

    #[test]
    fn a_view_that_no_quorum_shares_ails_it() {
        assert!(ailment(&with("timeout", json!(true)), None, None).unwrap().contains("left its view"));
    }

    #[test]
    fn an_account_in_another_form_tells_nothing() {
        for field in ["consensusNodeList", "minRequiredQuorum", "maxFaultyQuorum", "connectedNodeList", "timeout"] {
            let mut less = status();
            less.as_object_mut().unwrap().remove(field);
            assert_eq!(ailment(&less, None, None), None, "{field}");
        }
        assert_eq!(ailment(&json!("text"), None, None), None);
        assert_eq!(ailment(&status(), Some(json!({})), Some(json!({}))), None);
    }

    #[test]
    fn one_node_that_is_well_is_enough() {
        let ill = |name: &str| (name.to_owned(), Ok(Some("alone".to_owned())));
        let away = |name: &str| (name.to_owned(), Err(super::super::pool::Pool::nobody()));
        let nobody = super::super::pool::Pool::nobody;
        assert_eq!(combined(vec![ill("a"), ("b".to_owned(), Ok(None))], nobody()), Ok(None));
        assert_eq!(combined(vec![ill("a"), ill("b")], nobody()), Ok(Some("a: alone; b: alone".to_owned())));
        assert_eq!(combined(vec![away("a"), ill("b")], nobody()), Ok(Some("b: alone".to_owned())));
        assert_eq!(combined(vec![away("a")], nobody()), Err(nobody()));
        assert_eq!(combined(Vec::new(), nobody()), Err(nobody()));
    }
}

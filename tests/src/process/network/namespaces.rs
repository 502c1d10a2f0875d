//! Two network namespaces: the one in which this process runs, home, and another one, away.
//!
//! Two cables lead from one to the other. The wide one is what lies between two cities: it loses packets, is cut, narrow. The house
//! cable is what lies between a relay and its chain's node, and is never disturbed: it leads away's calls to home's loopback.
//! Away, and with it the cables, is gone when this process is.

use std::net::Ipv4Addr;
use std::process::Stdio;

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};

/// Programs that must be there, and the Debian package that has each.
pub const TOOLS: [(&str, &str); 5] =
    [("ip", "iproute2"), ("tc", "iproute2"), ("nft", "nftables"), ("unshare", "util-linux"), ("nsenter", "util-linux")];

/// Home's address on the wide cable.
pub const HOME: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

/// Away's address on the wide cable.
pub const AWAY: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);

/// Another address on the wide cable, for whoever moves.
pub const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 3);

/// Home's address on the house cable: away finds the chains' nodes there.
pub const HOUSE: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 1);

/// Away's address on the house cable, where its metrics are.
pub const HOUSE_AWAY: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 2);

/// What receives on the wide cable drops, on each side; counters stay when rules change.
const WEATHER: &str = "table inet weather {
  counter came {}
  counter lost {}
  chain input { type filter hook input priority filter; policy accept; }
}";

/// In which direction the wide cable is disturbed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From home.
    ToAway,
    /// From away.
    ToHome,
}

impl Way {
    /// Both directions.
    pub const BOTH: [Self; 2] = [Self::ToAway, Self::ToHome];
}

/// Packets that came over the wide cable, both ways together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packets {
    /// Those that arrived, lost ones included.
    pub came: u64,
    /// Those that were dropped there.
    pub lost: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Namespaces {
    /// Lives as long as its standard input is open, and away as long as it.
    holder: Child,
    away: String,
}

impl Namespaces {
    /// Brings home's loopback up, makes away, and lays both cables.
    ///
    /// # Errors
    /// When this process is in a namespace that others use too, or may not make one, or a program is missing.
    pub async fn make() -> anyhow::Result<Self> {
        let links = output(Command::new("ip").args(["-oneline", "link"])).await?;
        ensure!(
            links.lines().count() == 1,
            "expected a network namespace with nothing but a loopback, got one with {} links: start this by tests/network",
            links.lines().count()
        );
        let mut holder = Command::new("unshare")
            .args(["--net", "sh", "-c", "echo ready; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("start unshare")?;
        let mut ready = String::new();
        BufReader::new(holder.stdout.take().context("a pipe")?).read_line(&mut ready).await?;
        ensure!(ready.trim() == "ready", "no second network namespace can be made here");
        let pid = holder.id().context("the second namespace is held")?;
        let namespaces = Self { holder, away: format!("/proc/{pid}/ns/net") };
        namespaces.lay_cables(pid).await?;
        namespaces.lead_to_loopback().await?;
        for way in Way::BOTH {
            namespaces.nft(way, WEATHER).await?;
            namespaces.heal(way).await?;
        }
        Ok(namespaces)
    }

    /// Calls to home's loopback at a port of somebody who runs away go there.
    ///
    /// # Errors
    /// When `nft` refuses it.
    pub async fn lead_away(&self, port: u16) -> anyhow::Result<()> {
        let rule = format!("add rule ip house output ip daddr 127.0.0.1 tcp dport {port} dnat to {HOUSE_AWAY}");
        feed(&mut Command::new("nft"), &rule).await
    }

    /// What a program's command line begins with so that it runs away.
    #[must_use]
    pub fn launcher(&self) -> Vec<String> {
        vec!["nsenter".to_owned(), format!("--net={}", self.away), "--".to_owned()]
    }

    /// Loses so many packets of a hundred, drawn for each.
    ///
    /// # Errors
    /// When `nft` refuses it.
    pub async fn lose(&self, way: Way, percent: u32) -> anyhow::Result<()> {
        self.rule(way, &format!("numgen random mod 100 < {percent} counter name lost drop")).await
    }

    /// Loses everything.
    ///
    /// # Errors
    /// When `nft` refuses it.
    pub async fn cut(&self, way: Way) -> anyhow::Result<()> {
        self.rule(way, "counter name lost drop").await
    }

    /// Loses nothing.
    ///
    /// # Errors
    /// When `nft` refuses it.
    pub async fn heal(&self, way: Way) -> anyhow::Result<()> {
        self.rule(way, "accept").await
    }

    /// Lets so much through each way, and drops what would wait longer than a second: what a slow line's modem does.
    ///
    /// # Errors
    /// When `tc` refuses it.
    pub async fn narrow(&self, rate: &str) -> anyhow::Result<()> {
        let tbf = ["qdisc", "replace", "dev", "wide", "root", "tbf", "rate", rate, "burst", "16kb", "latency", "1s"];
        output(Command::new("tc").args(tbf)).await?;
        output(self.in_away("tc").args(tbf)).await.map(drop)
    }

    /// How often a packet had to wait for the rate, both ways together.
    ///
    /// # Errors
    /// When `tc` says something else than expected.
    pub async fn delayed_packets(&self) -> anyhow::Result<u64> {
        let show = ["-json", "-statistics", "qdisc", "show", "dev", "wide"];
        let mut sum = 0;
        for text in [output(Command::new("tc").args(show)).await?, output(self.in_away("tc").args(show)).await?] {
            let said: Value = serde_json::from_str(&text)?;
            sum += said[0]["overlimits"].as_u64().with_context(|| format!("expected overlimits, got {text}"))?;
        }
        Ok(sum)
    }

    /// Takes the address that one side has on the wide cable, and gives it another one.
    ///
    /// # Errors
    /// When `ip` refuses it.
    pub async fn renumber(&self, is_away: bool, from: Ipv4Addr, to: Ipv4Addr) -> anyhow::Result<()> {
        for (verb, address) in [("del", from), ("add", to)] {
            let mut ip = if is_away { self.in_away("ip") } else { Command::new("ip") };
            output(ip.args(["address", verb, &format!("{address}/24"), "dev", "wide"])).await?;
        }
        Ok(())
    }

    /// Counts since the start.
    ///
    /// # Errors
    /// When `nft` says something else than expected.
    pub async fn packets(&self) -> anyhow::Result<Packets> {
        let mut sum = Packets::default();
        for way in Way::BOTH {
            let text = output(self.receiver(way, "nft").args(["--json", "list", "counters"])).await?;
            let said: Value = serde_json::from_str(&text)?;
            let listed = said["nftables"].as_array().with_context(|| format!("expected counters, got {text}"))?;
            for counter in listed.iter().filter_map(|entry| entry.get("counter")) {
                let packets = counter["packets"].as_u64().context("packets of a counter")?;
                match counter["name"].as_str() {
                    Some("came") => sum.came += packets,
                    Some("lost") => sum.lost += packets,
                    _ => {}
                }
            }
        }
        Ok(sum)
    }

    async fn lay_cables(&self, pid: u32) -> anyhow::Result<()> {
        let pid = pid.to_string();
        output(Command::new("ip").args(["link", "set", "lo", "up"])).await?;
        output(self.in_away("ip").args(["link", "set", "lo", "up"])).await?;
        for (cable, home, away) in [("wide", HOME, AWAY), ("house", HOUSE, HOUSE_AWAY)] {
            let pair = ["link", "add", cable, "type", "veth", "peer", "name", cable, "netns", &pid];
            output(Command::new("ip").args(pair)).await?;
            for (mut set_address, mut set_up, address) in
                [(Command::new("ip"), Command::new("ip"), home), (self.in_away("ip"), self.in_away("ip"), away)]
            {
                output(set_address.args(["address", "add", &format!("{address}/24"), "dev", cable])).await?;
                // One packet at a time: a batch of them that the kernel carries as one would be lost as one.
                output(set_up.args(["link", "set", cable, "gso_max_segs", "1", "up"])).await?;
            }
        }
        Ok(())
    }

    /// Calls from away to the house go to home's loopback, where the chains' nodes are.
    async fn lead_to_loopback(&self) -> anyhow::Result<()> {
        std::fs::write("/proc/sys/net/ipv4/conf/all/route_localnet", "1").context("route to the loopback")?;
        let rules = "table ip house {
  chain prerouting { type nat hook prerouting priority dstnat; iifname \"house\" dnat to 127.0.0.1; }
  chain output { type nat hook output priority -100; }
  chain postrouting { type nat hook postrouting priority srcnat; oifname \"house\" masquerade; }
}";
        feed(&mut Command::new("nft"), rules).await
    }

    async fn rule(&self, way: Way, rule: &str) -> anyhow::Result<()> {
        // In one transaction: no packet meets half of it.
        let rules = format!(
            "flush chain inet weather input
add rule inet weather input iifname \"wide\" counter name came
add rule inet weather input iifname \"wide\" {rule}"
        );
        self.nft(way, &rules).await
    }

    async fn nft(&self, way: Way, rules: &str) -> anyhow::Result<()> {
        feed(&mut self.receiver(way, "nft"), rules).await
    }

    /// A program on the side that receives.
    fn receiver(&self, way: Way, program: &str) -> Command {
        match way {
            Way::ToAway => self.in_away(program),
            Way::ToHome => Command::new(program),
        }
    }

    fn in_away(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.away)).arg("--").arg(program);
        command
    }

    /// Ends away, whose last process has ended.
    ///
    /// # Errors
    /// When it can't be ended.
    pub async fn end(mut self) -> anyhow::Result<()> {
        self.holder.kill().await.context("end the second namespace")
    }
}

async fn output(command: &mut Command) -> anyhow::Result<String> {
    let said = command.output().await.with_context(|| format!("start {command:?}"))?;
    if !said.status.success() {
        bail!("{command:?} failed: {}", String::from_utf8_lossy(&said.stderr).trim());
    }
    Ok(String::from_utf8(said.stdout)?)
}

/// Runs `nft` on these rules.
async fn feed(nft: &mut Command, rules: &str) -> anyhow::Result<()> {
    nft.args(["--file", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = nft.spawn().context("start nft")?;
    let mut input = child.stdin.take().context("a pipe")?;
    input.write_all(rules.as_bytes()).await?;
    drop(input);
    let said = child.wait_with_output().await?;
    ensure!(said.status.success(), "nft refused\n{rules}\n{}", String::from_utf8_lossy(&said.stderr).trim());
    Ok(())
}

//! A real Prometheus beside the processes of a trial, with the shipped rules.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use cityrelay::demo::configs::free_tcp_port;
use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

/// How long Prometheus may take to start, and to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Every range of an expression in the shortened rules: many scrapes, also on a slow machine.
const SHORT_RANGE: &str = "[15s]";

/// What installs the programs.
const INSTALL: &str = "apt-get install -y --no-install-recommends prometheus";

/// A running Prometheus. Dropping it ends it.
#[derive(Debug)]
pub struct Prometheus {
    _child: Child,
    url: String,
    client: reqwest::Client,
}

/// One element of an answer: its labels and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The labels, as JSON.
    pub labels: Value,
    /// The value.
    pub value: f64,
}

impl Prometheus {
    /// Starts one in `dir` that scrapes these processes, named `instance`, each second, with the shipped rules: what they
    /// allow for minutes is shortened to seconds.
    ///
    /// # Errors
    /// When it is not installed or does not start.
    pub async fn start(dir: &Path, instances: &[(String, u16)]) -> anyhow::Result<Self> {
        let dir = dir.join("prometheus");
        std::fs::create_dir_all(&dir)?;
        let rules = std::fs::read_to_string(rules()).context("read the rules")?;
        std::fs::write(dir.join("rules.yml"), shortened(&rules))?;
        let mut config = String::from(
            "global: { scrape_interval: 1s, evaluation_interval: 1s }\nrule_files: [rules.yml]\nscrape_configs:\n  \
             - job_name: cityrelay\n    static_configs:\n",
        );
        for (instance, port) in instances {
            writeln!(
                config,
                "      - targets: [\"127.0.0.1:{port}\"]\n        labels: {{ instance: \"{instance}\" }}"
            )?;
        }
        std::fs::write(dir.join("prometheus.yml"), config)?;
        let port = free_tcp_port()?;
        let log = std::fs::File::create(dir.join("log"))?;
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", dir.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", dir.join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start prometheus; `{INSTALL}` installs it"))?;
        drop(rustls::crypto::ring::default_provider().install_default());
        let client = reqwest::Client::builder().timeout(ANSWER_TIMEOUT).build()?;
        let prometheus = Self { _child: child, url: format!("http://127.0.0.1:{port}"), client };
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        loop {
            let ready = prometheus.client.get(format!("{}/-/ready", prometheus.url)).send().await;
            if ready.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(prometheus);
            }
            ensure!(Instant::now() < deadline, "prometheus does not start; its log is {}", dir.join("log").display());
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Evaluates an expression now.
    ///
    /// # Errors
    /// When it is not understood.
    pub async fn query(&self, expression: &str) -> anyhow::Result<Vec<Sample>> {
        let url = format!("{}/api/v1/query", self.url);
        let answer = self.client.get(url).query(&[("query", expression)]).send().await?;
        let answer: Value = answer.json().await?;
        ensure!(answer["status"] == "success", "{expression}: {answer}");
        if answer["data"]["resultType"] != "vector" {
            bail!("{expression}: expected a vector, got {answer}");
        }
        let samples = answer["data"]["result"].as_array().context("a list of samples")?;
        samples
            .iter()
            .map(|sample| {
                let value = sample["value"][1].as_str().context("a value")?;
                Ok(Sample { labels: sample["metric"].clone(), value: value.parse()? })
            })
            .collect()
    }

    /// The labels of all alerts that fire.
    ///
    /// # Errors
    /// When Prometheus does not answer.
    pub async fn firing(&self) -> anyhow::Result<Vec<Value>> {
        let samples = self.query("ALERTS{alertstate=\"firing\"}").await?;
        Ok(samples.into_iter().map(|sample| sample.labels).collect())
    }

    /// Waits until an alert fires that has all these labels.
    ///
    /// # Errors
    /// When none does in time; says which do.
    pub async fn wait_for_alert(&self, labels: &[(&str, &str)], timeout: Duration) -> anyhow::Result<()> {
        let matchers: Vec<String> = labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
        let expression = format!("ALERTS{{alertstate=\"firing\",{}}}", matchers.join(","));
        self.wait_for(&expression, timeout).await
    }

    /// Waits until an expression has a result.
    ///
    /// # Errors
    /// When it has none in time; says which alerts fire.
    pub async fn wait_for(&self, expression: &str, timeout: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + timeout;
        while self.query(expression).await?.is_empty() {
            if Instant::now() >= deadline {
                bail!("{expression} has no result in time; firing are {:?}", self.firing().await?);
            }
            sleep(Duration::from_millis(300)).await;
        }
        Ok(())
    }
}

/// The shipped rules.
#[must_use]
pub fn rules() -> PathBuf {
    deployed("prometheus/cityrelay.rules.yml")
}

/// A file under `deploy`.
#[must_use]
pub fn deployed(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(path)
}

/// Runs promtool and gives what it says.
///
/// # Errors
/// When it is not installed, or finds a fault.
pub fn promtool(arguments: &[&str]) -> anyhow::Result<()> {
    let output = std::process::Command::new("promtool")
        .args(arguments)
        .current_dir(deployed("prometheus"))
        .output()
        .with_context(|| format!("start promtool; `{INSTALL}` installs it"))?;
    let said = [output.stdout, output.stderr].concat();
    ensure!(output.status.success(), "promtool {arguments:?}: {}", String::from_utf8_lossy(&said));
    Ok(())
}

/// The rules with every `for` of one second and every range short.
fn shortened(rules: &str) -> String {
    let mut text = String::new();
    for line in rules.lines() {
        if line.trim_start().starts_with("for: ") {
            text.push_str("        for: 1s\n");
            continue;
        }
        let mut rest = line;
        while let Some((before, after)) = rest.split_once('[') {
            text.push_str(before);
            let Some((range, after)) = after.split_once(']') else { break };
            assert!(range.ends_with('m'), "a range in minutes, not [{range}]");
            text.push_str(SHORT_RANGE);
            rest = after;
        }
        text.push_str(rest);
        text.push('\n');
    }
    text
}

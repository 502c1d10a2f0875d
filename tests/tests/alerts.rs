//! What an operator is given: the alert rules, their unit tests, and a runbook that names what exists.
#![allow(clippy::panic, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use cityrelay_core::machine::status::WaitReason;
use cityrelay_tests::process::program;
use cityrelay_tests::process::prometheus::{deployed, promtool, rules};

#[test]
fn the_rules_pass_their_unit_tests_and_each_has_one() {
    promtool(&["check", "rules", "cityrelay.rules.yml"]).unwrap();
    promtool(&["test", "rules", "cityrelay.rules.test.yml"]).unwrap();
    let tests = std::fs::read_to_string(deployed("prometheus/cityrelay.rules.test.yml")).unwrap();
    for (alert, _) in alerts() {
        assert!(tests.contains(&format!("{{alertname=\"{alert}\"}}")), "{alert} has no unit test");
    }
}

/// Each alert with the anchor that it links.
fn alerts() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(rules()).unwrap();
    let after = |key: &str| -> Vec<String> {
        text.lines().filter_map(|line| line.trim_start().strip_prefix(key)).map(str::to_owned).collect()
    };
    let (names, links) = (after("- alert: "), after("runbook_url: "));
    assert!(!names.is_empty() && names.len() == links.len(), "{names:?} {links:?}");
    let anchors = links.into_iter().map(|link| link.split_once("RUNBOOK.md#").expect("a link").1.to_owned());
    names.into_iter().zip(anchors).collect()
}

#[test]
fn each_alert_and_each_kind_of_trouble_has_its_section() {
    let runbook = std::fs::read_to_string(deployed("RUNBOOK.md")).unwrap();
    let (_, rest) = runbook.split_once("\n## ").unwrap();
    let sections: BTreeMap<String, &str> = rest
        .split("\n## ")
        .map(|section| {
            let (title, text) = section.split_once('\n').unwrap();
            (title.trim().to_lowercase().replace(' ', "-"), text)
        })
        .collect();
    for (alert, anchor) in alerts() {
        let text = sections.get(&anchor).unwrap_or_else(|| panic!("{alert} links #{anchor}, which is no section"));
        for part in ["**Means.**", "**Look at.**", "**Do.**", "**Don't.**"] {
            assert!(text.contains(part), "the section of {alert} has no {part}");
        }
    }
    // Every link inside the runbook leads somewhere.
    for link in runbook.split("](#").skip(1) {
        let anchor = link.split_once(')').unwrap().0;
        assert!(sections.contains_key(anchor), "#{anchor} is no section");
    }
    for kind in cityrelay::observability::TroubleKind::ALL {
        let row = format!("| `{}` |", kind.as_str());
        assert!(sections["cityrelaynotready"].contains(&row), "the runbook does not say what {} is", kind.as_str());
    }
}

#[test]
fn each_reason_to_wait_is_explained() {
    let runbook = std::fs::read_to_string(deployed("RUNBOOK.md")).unwrap();
    for reason in WaitReason::ALL.into_iter().filter(|reason| *reason != WaitReason::Idle) {
        let word = format!("`{}`", reason.as_str());
        assert!(runbook.contains(&word), "the runbook does not say what to do about {word}");
    }
}

#[test]
fn each_command_that_the_runbook_names_exists() {
    let runbook = std::fs::read_to_string(deployed("RUNBOOK.md")).unwrap();
    let blocks = runbook.lines().filter_map(|line| line.strip_prefix("    "));
    let commands = runbook.split('`').skip(1).step_by(2).chain(blocks);
    let commands: BTreeSet<&str> = commands.filter_map(|text| text.strip_prefix("cityrelay ")).collect();
    assert!(commands.len() > 5, "{commands:?}");
    for command in commands {
        let is_word =
            |word: &&str| word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-') && !word.starts_with('-');
        let words: Vec<&str> = command.split_whitespace().take_while(is_word).collect();
        let output = Command::new(program::cityrelay()).args(&words).arg("--help").output().unwrap();
        let help = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "cityrelay {command}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(words.len() < 2 || help.contains(&format!("cityrelay {}", words.join(" "))), "cityrelay {command}");
        for flag in command.split_whitespace().filter(|word| word.starts_with("--")) {
            assert!(help.contains(flag), "cityrelay {command}: there is no {flag}");
        }
    }
}

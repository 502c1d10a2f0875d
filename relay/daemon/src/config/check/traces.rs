//! Where traces go.

use reqwest::Url;

use crate::config::reader::Reader;
use crate::config::settings::TracesConfig;

/// The most messages of which one is traced.
const MAX_ONE_IN: u64 = 1_000_000;

/// The collector; `None` where none is named, or with a fault.
pub(super) fn traces(reader: &Reader<'_>) -> Option<TracesConfig> {
    let one_in = reader.within("traces.one_in", 1, MAX_ONE_IN, "1 to 1000000");
    let ca_file = reader.path("traces.ca_file");
    let Some(text) = reader.optional::<String>("traces.otlp_endpoint") else {
        if ca_file.is_some() && reader.value("traces.otlp_endpoint").is_none() {
            reader.missing("traces.otlp_endpoint", ", and traces.ca_file is of no use without it");
        }
        return None;
    };
    let otlp_endpoint = match Url::parse(&text) {
        Ok(url) if ["http", "https"].contains(&url.scheme()) && url.has_host() => url,
        _ => {
            reader.fault(
                "traces.otlp_endpoint",
                format!("expected an http or https URL, such as \"http://127.0.0.1:4318/v1/traces\", got {text:?}"),
            );
            return None;
        }
    };
    if !otlp_endpoint.username().is_empty() || otlp_endpoint.password().is_some() {
        reader.fault("traces.otlp_endpoint", "has a user or a password: no secret may stand in the configuration; put a collector on this machine that signs in elsewhere");
    }
    if otlp_endpoint.scheme() == "https" && ca_file.is_none() {
        reader.missing("traces.ca_file", ", and an https collector needs it");
    }
    Some(TracesConfig { otlp_endpoint, ca_file, one_in: one_in? })
}

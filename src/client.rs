//! Asking a running Tidelake over HTTP.

use anyhow::{Context, Result, bail};

use crate::cli::IntervalArgs;
use crate::config::check_interval;

/// The body of `GET path`.
///
/// # Errors
/// If nothing listens there, or it answers with an error.
pub fn get(address: &str, path: &str) -> Result<String> {
    let response = agent().get(url(address, path)).call().with_context(|| no_answer(address))?;
    body(response)
}

/// The body of `PUT path` with a JSON body.
///
/// # Errors
/// As for [`get`].
pub fn put(address: &str, path: &str, json: &serde_json::Value) -> Result<String> {
    let response = agent().put(url(address, path)).send_json(json).with_context(|| no_answer(address))?;
    body(response)
}

/// The body of `POST path` with a JSON body.
///
/// # Errors
/// As for [`get`].
pub fn post(address: &str, path: &str, json: &serde_json::Value) -> Result<String> {
    let response = agent().post(url(address, path)).send_json(json).with_context(|| no_answer(address))?;
    body(response)
}

/// `tidelake interval`.
///
/// # Errors
/// If the interval is out of range or no Tidelake answers.
pub fn interval(args: &IntervalArgs) -> Result<()> {
    let answer = match args.interval {
        None => get(&args.http.http, "/api/v1/interval")?,
        Some(interval) => {
            check_interval(interval)?;
            let json = serde_json::json!({ "interval_ms": interval.as_secs_f64() * 1000.0 });
            put(&args.http.http, "/api/v1/interval", &json)?
        }
    };
    let answer: serde_json::Value = serde_json::from_str(&answer)?;
    println!("interval {} ms", answer["interval_ms"]);
    Ok(())
}

fn agent() -> ureq::Agent {
    let timeout = Some(std::time::Duration::from_secs(10));
    ureq::Agent::config_builder().http_status_as_error(false).timeout_global(timeout).build().into()
}

fn url(address: &str, path: &str) -> String {
    let base = address.trim_end_matches('/');
    if base.starts_with("http://") { format!("{base}{path}") } else { format!("http://{base}{path}") }
}

fn no_answer(address: &str) -> String {
    format!("no tidelake answers at {address}: start one with `tidelake run`, or name its address with --http")
}

fn body(mut response: ureq::http::Response<ureq::Body>) -> Result<String> {
    let status = response.status();
    let text = response.body_mut().read_to_string().context("read the answer")?;
    if !status.is_success() {
        bail!("{status}: {}", text.trim());
    }
    Ok(text)
}

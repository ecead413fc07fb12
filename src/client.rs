//! Asking a running Tidelake over HTTP.

use std::path::Path;

use anyhow::{Context, Result, bail};
use base64::Engine;
use ureq::RequestBuilder;
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};
use ureq::typestate::WithBody;

use crate::access::args::{ClientTlsArgs, HttpArgs};
use crate::access::users::secret_of;
use crate::cli::IntervalArgs;
use crate::config::check_interval;

/// The body of `GET path`.
///
/// # Errors
/// If nothing listens there, or it answers with an error.
pub fn get(server: &HttpArgs, path: &str) -> Result<String> {
    let mut request = agent(server)?.get(url(server, path));
    if let Some(login) = login(server)? {
        request = request.header("Authorization", login);
    }
    body(request.call().with_context(|| no_answer(server))?)
}

/// The body of `PUT path` with a JSON body.
///
/// # Errors
/// As for [`get`].
pub fn put(server: &HttpArgs, path: &str, json: &serde_json::Value) -> Result<String> {
    send(server, agent(server)?.put(url(server, path)), json)
}

/// The body of `POST path` with a JSON body.
///
/// # Errors
/// As for [`get`].
pub fn post(server: &HttpArgs, path: &str, json: &serde_json::Value) -> Result<String> {
    send(server, agent(server)?.post(url(server, path)), json)
}

fn send(server: &HttpArgs, mut request: RequestBuilder<WithBody>, json: &serde_json::Value) -> Result<String> {
    if let Some(login) = login(server)? {
        request = request.header("Authorization", login);
    }
    body(request.send_json(json).with_context(|| no_answer(server))?)
}

/// `tidelake interval`.
///
/// # Errors
/// If the interval is out of range or no Tidelake answers.
pub fn interval(args: &IntervalArgs) -> Result<()> {
    let answer = match args.interval {
        None => get(&args.http, "/api/v1/interval")?,
        Some(interval) => {
            check_interval(interval)?;
            let json = serde_json::json!({ "interval_ms": interval.as_secs_f64() * 1000.0 });
            put(&args.http, "/api/v1/interval", &json)?
        }
    };
    let answer: serde_json::Value = serde_json::from_str(&answer)?;
    println!("interval {} ms", answer["interval_ms"]);
    Ok(())
}

fn agent(server: &HttpArgs) -> Result<ureq::Agent> {
    let timeout = Some(std::time::Duration::from_secs(10));
    let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(timeout);
    Ok(config.tls_config(tls(&server.tls)?).build().into())
}

fn tls(args: &ClientTlsArgs) -> Result<TlsConfig> {
    let mut tls = TlsConfig::builder();
    if let Some(file) = &args.ca {
        tls = tls.root_certs(RootCerts::new_with_certs(&certificates("--ca", file)?));
    }
    if let (Some(cert), Some(key)) = (&args.cert, &args.key) {
        let key = read("--key", key)?;
        let key = PrivateKey::from_pem(&key).context("--key")?;
        tls = tls.client_cert(Some(ClientCert::new_with_certs(&certificates("--cert", cert)?, key)));
    }
    Ok(tls.build())
}

fn certificates(option: &str, file: &Path) -> Result<Vec<Certificate<'static>>> {
    let pem = read(option, file)?;
    let all = parse_pem(&pem).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(Ok(certificate)),
        Ok(_) => None,
        Err(error) => Some(Err(error)),
    });
    let all = all.collect::<Result<Vec<_>, _>>().with_context(|| format!("{} ({option})", file.display()))?;
    if all.is_empty() {
        bail!("{} ({option}): no certificate in PEM is in it", file.display());
    }
    Ok(all)
}

fn read(option: &str, file: &Path) -> Result<Vec<u8>> {
    std::fs::read(file).with_context(|| format!("read {} ({option})", file.display()))
}

/// The `Authorization` header.
fn login(server: &HttpArgs) -> Result<Option<String>> {
    if let Some(file) = &server.token_file {
        return Ok(Some(format!("Bearer {}", secret_of(file).context("--token-file")?)));
    }
    let Some(user) = &server.user else { return Ok(None) };
    let pair = format!("{user}:{}", server.password.as_deref().unwrap_or_default());
    Ok(Some(format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))))
}

fn url(server: &HttpArgs, path: &str) -> String {
    let base = server.http.trim_end_matches('/');
    if base.contains("://") {
        return format!("{base}{path}");
    }
    let scheme = if server.tls.ca.is_some() || server.tls.cert.is_some() { "https" } else { "http" };
    format!("{scheme}://{base}{path}")
}

fn no_answer(server: &HttpArgs) -> String {
    let address = &server.http;
    format!(
        "no tidelake answers at {address}: start one with `tidelake run`, or name its address with --http (https://..., and --ca, if it has a certificate)"
    )
}

fn body(mut response: ureq::http::Response<ureq::Body>) -> Result<String> {
    let status = response.status();
    let text = response.body_mut().read_to_string().context("read the answer")?;
    if status == 401 {
        bail!("{}: give --user (and TIDELAKE_PASSWORD) or --token-file", text.trim());
    }
    if !status.is_success() {
        bail!("{status}: {}", text.trim());
    }
    Ok(text)
}

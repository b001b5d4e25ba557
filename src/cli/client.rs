//! Calls to a running service. The only file that knows the HTTP client.

use std::fmt;
use std::io::Write;

use anyhow::{Context, anyhow, bail};
use serde_json::Value;

use crate::cli::WrongUse;

/// A service at a base URL.
#[derive(Clone, Debug)]
pub(super) struct Client {
    base: String,
    key: Option<Key>,
    http: reqwest::Client,
}

/// An API key, or what was given for one. Nothing shows it.
#[derive(Clone)]
pub(super) struct Key(String);

impl From<String> for Key {
    fn from(text: String) -> Key {
        Key(text)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(***)")
    }
}

/// What to send, and how it is called.
pub(super) enum Body {
    None,
    Json(Value),
    Bytes { content_type: &'static str, bytes: Vec<u8> },
}

impl Client {
    pub fn new(base: &str, key: Option<Key>) -> anyhow::Result<Client> {
        if !reqwest::Url::parse(base).is_ok_and(|url| matches!(url.scheme(), "http" | "https")) {
            bail!(WrongUse(format!("`{base}` is not the URL of a service, such as `http://127.0.0.1:6566`")));
        }
        let http = reqwest::Client::builder().tcp_nodelay(true).build().context("the HTTP client cannot start")?;
        Ok(Client { base: base.trim_end_matches('/').to_owned(), key, http })
    }

    pub fn base(&self) -> &str {
        &self.base
    }

    /// The JSON of a successful answer; `query` is escaped here.
    pub async fn call(&self, method: &str, path: &str, query: &[(&str, String)], body: Body) -> anyhow::Result<Value> {
        let bytes = self.bytes(method, path, query, body).await?;
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&bytes).with_context(|| format!("{} did not answer {path} with JSON", self.base))
    }

    pub async fn get(&self, path: &str, query: &[(&str, String)]) -> anyhow::Result<Value> {
        self.call("GET", path, query, Body::None).await
    }

    /// Writes the bytes of a successful answer as they come.
    pub async fn save(&self, path: &str, query: &[(&str, String)], to: &mut impl Write) -> anyhow::Result<()> {
        let mut answer = self.answer("GET", path, query, Body::None).await?;
        while let Some(bytes) = answer.chunk().await.with_context(|| self.broken_off())? {
            to.write_all(&bytes)?;
        }
        Ok(())
    }

    /// The bytes of a successful answer.
    pub async fn bytes(
        &self,
        method: &str,
        path: &str,
        query: &[(&str, String)],
        body: Body,
    ) -> anyhow::Result<Vec<u8>> {
        let answer = self.answer(method, path, query, body).await?;
        Ok(answer.bytes().await.with_context(|| self.broken_off())?.to_vec())
    }

    /// A successful answer, of which the body is still to come. A problem becomes an error with all its mistakes.
    async fn answer(
        &self,
        method: &str,
        path: &str,
        query: &[(&str, String)],
        body: Body,
    ) -> anyhow::Result<reqwest::Response> {
        let method = method.parse().expect("commands name real methods");
        let mut request = self.http.request(method, format!("{}{path}", self.base)).query(query);
        if let Some(Key(text)) = &self.key {
            request = request.bearer_auth(text);
        }
        request = match body {
            Body::None => request,
            Body::Json(json) => request.header("content-type", "application/json").body(json.to_string()),
            Body::Bytes { content_type, bytes } => request.header("content-type", content_type).body(bytes),
        };
        let response = request.send().await.map_err(|error| self.unreachable(error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let bytes = response.bytes().await.with_context(|| self.broken_off())?;
        bail!("{}", problem_text(&bytes).unwrap_or_else(|| format!("{} answered {status} to {path}", self.base)));
    }

    fn broken_off(&self) -> String {
        format!("{} broke off its answer", self.base)
    }

    fn unreachable(&self, error: reqwest::Error) -> anyhow::Error {
        let (base, is_connect, error) = (&self.base, error.is_connect(), anyhow::Error::new(error));
        let cause = error.root_cause().to_string();
        if is_connect && cause.contains("certificate") {
            return anyhow!("{base} is not trusted ({cause}): name the PEM of who vouches for it in `SSL_CERT_FILE`");
        }
        if is_connect {
            return anyhow!(
                "no service answers at {base} ({cause}): start one with `freshet serve`, name another with `--url`, or \
                 work without one with `--local` where the command has it"
            );
        }
        error.context(format!("{base} did not answer"))
    }
}

/// A problem as lines for people: the mistakes where there are some, else the detail.
fn problem_text(bytes: &[u8]) -> Option<String> {
    let problem: Value = serde_json::from_slice(bytes).ok()?;
    let detail = problem.get("detail")?.as_str()?.to_owned();
    let mistakes = problem.get("errors").and_then(Value::as_array).into_iter().flatten();
    let lines: Vec<String> = mistakes.map(mistake_text).collect();
    Some(if lines.is_empty() { detail } else { format!("{detail}\n{}", lines.join("\n")) })
}

fn mistake_text(mistake: &Value) -> String {
    let text = |name: &str| mistake.get(name).and_then(Value::as_str).unwrap_or_default();
    let number = |name: &str| mistake.get(name).and_then(Value::as_u64);
    let mut line = text("place").to_owned();
    if let (Some(row), Some(column)) = (number("line"), number("column")) {
        line = format!("{line}:{row}:{column}");
    }
    line = format!("{line}: {}", text("detail"));
    if text("help").is_empty() { line } else { format!("{line}\n  help: {}", text("help")) }
}

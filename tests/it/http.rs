//! Calls to a service as any program would make them: over HTTP, with JSON in and out.

use serde_json::Value;

#[derive(Clone, Debug)]
pub struct Api {
    base: String,
    key: Option<String>,
    headers: Vec<(&'static str, String)>,
    http: reqwest::Client,
}

/// What came back, whatever its status.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub content_type: String,
    pub headers: reqwest::header::HeaderMap,
    pub body: Vec<u8>,
}

impl Api {
    pub fn new(base: &str) -> Api {
        Api { base: base.to_owned(), key: None, headers: Vec::new(), http: reqwest::Client::new() }
    }

    /// Where it is.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The same service, called with an API key.
    pub fn with_key(&self, key: &str) -> Api {
        Api { key: Some(key.to_owned()), ..self.clone() }
    }

    /// The same service, called with one more header.
    pub fn with_header(&self, name: &'static str, value: &str) -> Api {
        let mut headers = self.headers.clone();
        headers.push((name, value.to_owned()));
        Api { headers, ..self.clone() }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, "", Vec::new()).await.expect("the service answers")
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(path, "application/json", body.to_string()).await
    }

    pub async fn send(&self, path: &str, content_type: &str, body: impl Into<Vec<u8>>) -> Answer {
        self.call("POST", path, content_type, body.into()).await.expect("the service answers")
    }

    /// An error where the service died before its answer was complete.
    pub async fn call(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        body: Vec<u8>,
    ) -> Result<Answer, reqwest::Error> {
        let method = method.parse().expect("a method");
        let mut request = self.http.request(method, format!("{}{path}", self.base)).body(body);
        if !content_type.is_empty() {
            request = request.header("content-type", content_type);
        }
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let response = request.send().await?;
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let body = response.bytes().await?.to_vec();
        let answer = Answer { status, content_type: String::new(), headers, body };
        Ok(Answer { content_type: answer.header("content-type").to_owned(), ..answer })
    }
}

impl Answer {
    /// The JSON of an answer that has to be a success.
    pub fn json(&self) -> Value {
        assert!((200..300).contains(&self.status), "{self}");
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self}"))
    }

    /// Empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}\n{}", self.status, self.content_type, self.text())
    }
}

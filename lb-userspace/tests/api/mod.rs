//! A client of the API that holds every answer against the document.
#![allow(dead_code, reason = "every test binary uses its own part")]

pub(crate) mod generate;

use crate::support::Bench;
use anyhow::{Context, Result, anyhow, ensure};
use generate::requests;
use lb_tests::{process::Process, schema::Schema};
use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::{Config, TestRunner},
};
use serde_json::{Value, json};
use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    time::Duration,
};

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) kind: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.body).with_context(|| format!("no JSON: {self:?}"))
    }
}

/// A connection.
pub(crate) trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

/// Makes connections.
type Connect<'b> = Box<dyn Fn() -> Result<Box<dyn Stream>> + 'b>;

/// The way to the daemon, and its description.
pub(crate) struct Api<'b> {
    connect: Connect<'b>,
    token: Option<String>,
    document: Value,
}

impl<'b> Api<'b> {
    /// That of the daemon's socket.
    pub(crate) fn of(bench: &Bench) -> Result<Api<'static>> {
        let socket = bench.run_dir().join("api.sock");
        Api::by(
            move || {
                let stream = UnixStream::connect(&socket)?;
                stream.set_read_timeout(Some(Duration::from_secs(40)))?;
                Ok(Box::new(stream))
            },
            None,
        )
    }

    /// That behind other connections, where this token opens it.
    pub(crate) fn by(
        connect: impl Fn() -> Result<Box<dyn Stream>> + 'b,
        token: Option<&str>,
    ) -> Result<Api<'b>> {
        let token = token.map(str::to_owned);
        let mut api = Api { connect: Box::new(connect), token, document: Value::Null };
        api.document = api.ask("get", "/v1/openapi.json", None)?.json()?;
        Ok(api)
    }

    /// From now on this token is shown, or none.
    pub(crate) fn show(&mut self, token: Option<&str>) {
        self.token = token.map(str::to_owned);
    }

    pub(crate) fn document(&self) -> &Value {
        &self.document
    }

    /// Methods and paths of all operations.
    pub(crate) fn operations(&self) -> Vec<(String, String)> {
        let paths = self.document["paths"].as_object().into_iter().flatten();
        paths
            .flat_map(|(path, methods)| {
                let methods = methods.as_object().into_iter().flat_map(|m| m.keys());
                methods.map(move |method| (method.clone(), path.clone()))
            })
            .collect()
    }

    pub(crate) fn ask(&self, method: &str, path: &str, body: Option<&[u8]>) -> Result<Answer> {
        let mut stream = (self.connect)()?;
        let method = method.to_uppercase();
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: sipsteer\r\nConnection: close\r\n")?;
        if let Some(token) = &self.token {
            write!(stream, "Authorization: Bearer {token}\r\n")?;
        }
        if let Some(body) = body {
            write!(stream, "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len())?;
            // The daemon may hang up on what is too large.
            let _ = stream.write_all(body);
        } else {
            write!(stream, "\r\n")?;
        }
        let mut bytes = Vec::new();
        if let Err(e) = stream.read_to_end(&mut bytes) {
            ensure!(!bytes.is_empty(), "{method} {path}: {e}");
        }
        let text = String::from_utf8(bytes)?;
        let (head, body) = text.split_once("\r\n\r\n").with_context(|| format!("no head: {text:?}"))?;
        let status = head.split(' ').nth(1).context("no status")?.parse()?;
        let kind = head.lines().find_map(|l| l.strip_prefix("content-type: ")).unwrap_or_default();
        Ok(Answer { status, kind: kind.to_owned(), body: body.to_owned() })
    }

    /// Whether the document describes this answer.
    pub(crate) fn check(&self, method: &str, path: &str, answer: &Answer) -> Result<()> {
        let operation = &self.document["paths"][path][method];
        let response = &operation["responses"][answer.status.to_string()];
        ensure!(response.is_object(), "{method} {path} is not said to answer {}", answer.status);
        let contents = response["content"].as_object().context("no content")?;
        let (kind, content) = contents.iter().next().context("no content")?;
        ensure!(answer.kind.starts_with(kind), "{} is not {kind}", answer.kind);
        if kind != "application/json" {
            return Ok(());
        }
        // References lead into the components, so they stand beside the schema.
        let mut schema = json!({ "components": self.document["components"] });
        schema
            .as_object_mut()
            .context("a map")?
            .extend(content["schema"].as_object().context("no schema")?.clone());
        let schema = Schema::new(&schema).with_context(|| format!("{method} {path}"))?;
        let body = answer.json()?;
        let flaws = schema.flaws(&body);
        ensure!(flaws.is_empty(), "{method} {path} answers {body}, which is not as described: {flaws:#?}");
        Ok(())
    }

    /// What a refused request must not change.
    pub(crate) fn holds(&self) -> Result<Value> {
        let status = self.ask("get", "/v1/status", None)?.json()?;
        let mut backends = status["backends"].clone();
        for backend in backends.as_array_mut().into_iter().flatten() {
            let kept = ["name", "zone", "will", "health", "weight", "max_cps", "max_channels", "address"];
            backend.as_object_mut().context("a map")?.retain(|key, _| kept.contains(&key.as_str()));
        }
        // A reload on trial may end at any moment.
        let on_trial = !status["daemon"]["trial"].is_null();
        let configured = if on_trial { Value::Null } else { status["daemon"]["configured"].clone() };
        Ok(json!({
            "backends": backends,
            "differences": status["differences"],
            "zones": status["zones"].as_array().into_iter().flatten().map(|z| &z["will"]).collect::<Vec<_>>(),
            "configured": configured,
        }))
    }
}

/// Sends requests from the document, right and wrong, in an order that the seed decides: none harms the daemon.
pub(crate) fn fuzz(api: &Api<'_>, daemon: &Process, count: usize) -> Result<()> {
    let strategy = requests(api.document());
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::default() });
    let (mut taken, mut refused) = (0, 0);
    let mut before = api.holds()?;
    for _ in 0..count {
        let request = strategy.new_tree(&mut runner).map_err(|e| anyhow!("{e}"))?.current();
        let answer = api.ask(&request.method, &request.path, request.body.as_deref())?;
        let told = || format!("{request:?}: {answer:?}");
        api.check(&request.method, &request.template, &answer).with_context(told)?;
        ensure!(answer.status < 500 || request.path == "/readyz", "{}", told());
        ensure!(
            !request.refused_by_schema || answer.status == 422,
            "taken, although the document forbids it: {}",
            told()
        );
        let unread = answer.status == 422 && answer.json()?["error"]["code"] == "bad_request";
        ensure!(!request.valid || !unread, "not read, although the document allows it: {}", told());
        let after = api.holds()?;
        if answer.status == 200 {
            taken += 1;
        } else {
            refused += 1;
            ensure!(after == before, "refused, and it changed something: {}\n{before}\n{after}", told());
        }
        before = after;
        ensure!(daemon.status()?.is_none(), "the daemon is gone after {}", told());
    }
    ensure!(
        taken > count / 20 && refused > count / 20,
        "{taken} taken, {refused} refused: a lopsided generator"
    );
    ensure!(!daemon.log().contains("panicked"), "{}", daemon.log());
    println!("{taken} requests were taken, {refused} refused");
    Ok(())
}

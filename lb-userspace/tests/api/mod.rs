//! A client of the API that holds every answer against the document.

pub(crate) mod generate;

use crate::support::Bench;
use anyhow::{Context, Result, ensure};
use lb_tests::schema::Schema;
use serde_json::{Value, json};
use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::PathBuf,
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

/// The daemon's socket and its description.
pub(crate) struct Api {
    socket: PathBuf,
    document: Value,
}

impl Api {
    pub(crate) fn of(bench: &Bench) -> Result<Api> {
        let mut api = Api { socket: bench.run_dir().join("api.sock"), document: Value::Null };
        api.document = api.ask("get", "/v1/openapi.json", None)?.json()?;
        Ok(api)
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
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(Duration::from_secs(40)))?;
        let method = method.to_uppercase();
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: sipsteer\r\nConnection: close\r\n")?;
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

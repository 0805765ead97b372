//! `[api]`: every key by itself, and what must hold between them.

use super::{
    api::{Api, Identity},
    complaint::Code,
    draft::{ApiDraft, Draft},
    read::own_address,
    report::{Report, words},
    section::{Section, path},
};
use toml_span::Value;

/// All keys.
const KEYS: [&str; 5] = ["listen", "token_file", "read_token_file", "certificate", "key"];

pub(super) fn read_api(value: &Value<'_>, report: &mut Report<'_>) -> Option<ApiDraft> {
    let api = Section::new("[api]", value, &KEYS, report)?;
    let listen = own_address(&api, "127.0.0.1:9443", "which `sipsteer --api` asks", report);
    let example = "\"/etc/sipsteer/api.token\"";
    let token_file = api.required("token_file", example, report).and_then(|v| path(v, example, report));
    let mut file = |key: &str, example: &str| api.get(key).and_then(|v| path(v, example, report));
    let read_token_file = file("read_token_file", "\"/etc/sipsteer/api-read.token\"");
    let certificate = file("certificate", "\"/etc/sipsteer/api.pem\"");
    let key = file("key", "\"/etc/sipsteer/api.key\"");
    let (has_certificate, has_key) = (api.key_span("certificate"), api.key_span("key"));
    if let (Some(span), None) | (None, Some(span)) = (has_certificate, has_key) {
        let words = words(
            "`certificate` and `key` belong together",
            "TLS needs both",
            "add the other one, or remove this one",
        );
        report.error(Code::MissingKey, span, words);
    }
    if let Some(listen) = &listen
        && has_certificate.or(has_key).is_none()
        && !listen.value.ip().is_loopback()
    {
        let message = format!("the API would be served at {} without TLS", listen.value);
        let reason = "whoever sees a token on its way may use it: only a loopback address may do without TLS";
        let remedy = format!(
            "add `certificate` and `key`, or write `listen = \"127.0.0.1:{}\"` and come by SSH",
            listen.value.port()
        );
        report.error(Code::NotEncrypted, listen.span, words(message, reason, remedy));
    }
    Some(ApiDraft { listen: listen?, token_file: token_file?, read_token_file, certificate, key })
}

/// That nothing else has its address, and that a token is for one thing.
pub(super) fn check(draft: &Draft, report: &mut Report<'_>) {
    let Some(api) = &draft.api else { return };
    if let Some(metrics) = draft.metrics.as_ref().filter(|metrics| metrics.value == api.listen.value) {
        let message = format!("{} is also where metrics are served", api.listen.value);
        let words = words(
            message,
            "two cannot listen at one address",
            "write another port; the API serves /metrics too",
        );
        report.error_beside(Code::DuplicateAddress, api.listen.span, words, (metrics.span, "here"));
    }
    if let Some(read) = api.read_token_file.as_ref().filter(|read| read.value == api.token_file.value) {
        let words = words(
            "both tokens stand in the same file",
            "whoever may look could change everything",
            "name another file, or remove `read_token_file`",
        );
        report.error_beside(Code::DuplicateItem, read.span, words, (api.token_file.span, "here"));
    }
}

impl ApiDraft {
    pub(super) fn finish(self) -> Api {
        let identity = self.certificate.zip(self.key);
        Api {
            listen: self.listen.value,
            token_file: self.token_file.value,
            read_token_file: self.read_token_file.map(|path| path.value),
            identity: identity
                .map(|(certificate, key)| Identity { certificate: certificate.value, key: key.value }),
        }
    }
}

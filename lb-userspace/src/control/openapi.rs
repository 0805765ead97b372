//! The API as an OpenAPI 3.1 document. Schemas come from the types themselves; the routes are a table here.

use super::{
    api::{AliveBody, ConfirmBody, ErrorBody},
    change::{ChangeBody, ChangeRequest},
    reload::{ReloadBody, ReloadRequest},
    telemetry::PushBody,
};
use crate::{
    telemetry::push::Pushed,
    view::{
        backend::BackendDetail,
        counters::CountersView,
        facts::Facts,
        health::HealthView,
        lists::{BackendList, DialogList, ServiceList, ZoneList},
        status::{ReadyView, Status},
    },
};
use schemars::{Schema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Where schemas stand in the document.
const SCHEMAS: &str = "/components/schemas";

/// Makes the schema of a type, with a reference to it.
type Of = fn(&mut SchemaGenerator) -> Schema;

/// A route.
struct Route {
    method: &'static str,
    path: &'static str,
    /// What it is for.
    summary: &'static str,
    /// What stands in the request, and whether it must.
    request: Option<(Of, bool)>,
    answer: Answer,
    /// Whether 503 has the same body.
    not_ready: bool,
}

/// What a good answer holds.
enum Answer {
    Json(Of),
    /// Any JSON object.
    Document,
    Metrics,
}

const ROUTES: &[Route] = &[
    Route {
        method: "post",
        path: "/v1/reload",
        summary: "Takes the configuration file anew, or tells what that would do.",
        request: Some((SchemaGenerator::subschema_for::<ReloadRequest>, false)),
        answer: Answer::Json(SchemaGenerator::subschema_for::<ReloadBody>),
        not_ready: false,
    },
    Route {
        method: "post",
        path: "/v1/confirm",
        summary: "Keeps the configuration that awaits confirmation.",
        request: None,
        answer: Answer::Json(SchemaGenerator::subschema_for::<ConfirmBody>),
        not_ready: false,
    },
    Route {
        method: "post",
        path: "/v1/undo",
        summary: "Goes back to what held before the configuration that awaits confirmation.",
        request: None,
        answer: Answer::Json(SchemaGenerator::subschema_for::<ReloadBody>),
        not_ready: false,
    },
    Route {
        method: "post",
        path: "/v1/change",
        summary: "Changes what is wanted of a backend or zone, or tells what that would do.",
        request: Some((SchemaGenerator::subschema_for::<ChangeRequest>, true)),
        answer: Answer::Json(SchemaGenerator::subschema_for::<ChangeBody>),
        not_ready: false,
    },
    Route {
        method: "get",
        path: "/v1/status",
        summary: "The state of the balancer.",
        request: None,
        answer: Answer::Json(SchemaGenerator::subschema_for::<Status>),
        not_ready: false,
    },
    Route {
        method: "get",
        path: "/v1/counters",
        summary: "Packets by verdict, and dialogs that found no place.",
        request: None,
        answer: Answer::Json(SchemaGenerator::subschema_for::<CountersView>),
        not_ready: false,
    },
    Route {
        method: "post",
        path: "/v1/telemetry",
        summary: "Takes a report of how a backend is, for a source of type push.",
        request: Some((SchemaGenerator::subschema_for::<Pushed>, true)),
        answer: Answer::Json(SchemaGenerator::subschema_for::<PushBody>),
        not_ready: false,
    },
    Route {
        method: "get",
        path: "/v1/health",
        summary: "How the backends are that are probed, by name.",
        request: None,
        answer: Answer::Json(SchemaGenerator::subschema_for::<BTreeMap<String, HealthView>>),
        not_ready: false,
    },
    Route {
        method: "get",
        path: "/v1/facts",
        summary: "What the daemon knows beside the maps: its name, its file, what is not as that says.",
        request: None,
        answer: Answer::Json(SchemaGenerator::subschema_for::<Facts>),
        not_ready: false,
    },
    Route {
        method: "get",
        path: "/v1/backends",
        summary: "All backends with their dialogs, which are counted one by one.",
        request: None,
        answer: Answer::Json(SchemaGenerator::subschema_for::<BackendList>),
        not_ready: false,
    },
    Route {
        method: "get",
        path: "/v1/zones",
        summary: "All zones.",
        request: None,
        answer: Answer::Json(SchemaGenerator::subschema_for::<ZoneList>),
        not_ready: false,
    },
    Route {
        method: "get",
        path: "/v1/services",
        summary: "All services.",
        request: None,
        answer: Answer::Json(SchemaGenerator::subschema_for::<ServiceList>),
        not_ready: false,
    },
    Route {
        method: "get",
        path: "/v1/dialogs/{call_id}",
        summary: "Where a call is pinned, or where its next request would go.",
        request: None,
        answer: Answer::Json(SchemaGenerator::subschema_for::<DialogList>),
        not_ready: false,
    },
    Route {
        method: "get",
        path: "/v1/backends/{name}",
        summary: "One backend, and what made its limits what they are.",
        request: None,
        answer: Answer::Json(SchemaGenerator::subschema_for::<BackendDetail>),
        not_ready: false,
    },
    Route {
        method: "get",
        path: "/v1/openapi.json",
        summary: "This document.",
        request: None,
        answer: Answer::Document,
        not_ready: false,
    },
    Route {
        method: "get",
        path: "/metrics",
        summary: "Everything that is counted, for Prometheus.",
        request: None,
        answer: Answer::Metrics,
        not_ready: false,
    },
    Route {
        method: "get",
        path: "/healthz",
        summary: "Whether the daemon's loop answers.",
        request: None,
        answer: Answer::Json(SchemaGenerator::subschema_for::<AliveBody>),
        not_ready: false,
    },
    Route {
        method: "get",
        path: "/readyz",
        summary: "Whether calls are steered: attached, and some backend takes new calls.",
        request: None,
        answer: Answer::Json(SchemaGenerator::subschema_for::<ReadyView>),
        not_ready: true,
    },
];

/// The document.
pub fn document() -> Value {
    let settings = || SchemaSettings::draft2020_12().with(|s| s.definitions_path = SCHEMAS.into());
    // What may be left out of a request stands in every answer.
    let mut requests = settings().into_generator();
    let mut answers = settings().for_serialize().into_generator();
    let mut paths = Map::new();
    for route in ROUTES {
        let operation = operation(route, &mut requests, &mut answers);
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method] = operation;
    }
    let mut schemas = requests.take_definitions(true);
    schemas.extend(answers.take_definitions(true));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "sipsteer",
            "summary": "The daemon's API, over its Unix socket, and over TCP for those who show a token.",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "paths": paths,
        // Over the socket none is needed, over TCP a token.
        "security": [{}, { "token": [] }],
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "Over TCP: the token in api.token_file, or for GET that in api.read_token_file.",
                },
            },
        },
    })
}

fn operation(route: &Route, requests: &mut SchemaGenerator, answers: &mut SchemaGenerator) -> Value {
    let json = |schema: Value| json!({ "application/json": { "schema": schema } });
    let content = match route.answer {
        Answer::Json(of) => json(of(answers).to_value()),
        Answer::Document => json(json!({ "type": "object" })),
        Answer::Metrics => json!({ "application/openmetrics-text": { "schema": { "type": "string" } } }),
    };
    let error = answers.subschema_for::<ErrorBody>().to_value();
    let failures = [
        ("401", "Over TCP: there is no token, or a wrong one.", error.clone()),
        ("403", "The daemon may not do it, or over TCP the token only lets look.", error.clone()),
        ("422", "Refused; everything is as it was.", error.clone()),
        ("503", "The daemon is stopping.", error.clone()),
        ("504", "The daemon does not answer.", error),
    ];
    let mut responses = Map::new();
    responses.insert("200".to_owned(), json!({ "description": "Done.", "content": content }));
    for (status, description, schema) in failures {
        responses.insert(status.to_owned(), json!({ "description": description, "content": json(schema) }));
    }
    if route.not_ready {
        responses["503"] = json!({ "description": "It is not so.", "content": content });
    }
    let mut operation = json!({ "summary": route.summary, "responses": responses });
    if let Some((_, rest)) = route.path.split_once('{') {
        let name = rest.split('}').next().unwrap_or_default();
        let schema = json!({ "type": "string", "minLength": 1 });
        operation["parameters"] = json!([{ "name": name, "in": "path", "required": true, "schema": schema }]);
    }
    if let Some((of, required)) = route.request {
        operation["requestBody"] = json!({ "required": required, "content": json(of(requests).to_value()) });
    }
    operation
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_of_the_daemon_is_described_and_no_other() {
        let code = include_str!("api.rs");
        let mut served: Vec<(String, String)> = code
            .split(".route(\"")
            .skip(1)
            .filter_map(|rest| {
                let (path, handler) = rest.split_once("\", ")?;
                Some((handler.split_once('(')?.0.to_owned(), path.to_owned()))
            })
            .collect();
        let mut described: Vec<(String, String)> =
            ROUTES.iter().map(|route| (route.method.to_owned(), route.path.to_owned())).collect();
        served.sort_unstable();
        described.sort_unstable();
        assert_eq!(served, described, "describe the route in ROUTES");
    }

    #[test]
    fn a_schema_that_requests_and_answers_share_is_one() {
        let settings = || SchemaSettings::draft2020_12().with(|s| s.definitions_path = SCHEMAS.into());
        let (mut requests, mut answers) =
            (settings().into_generator(), settings().for_serialize().into_generator());
        ROUTES.iter().for_each(|route| drop(operation(route, &mut requests, &mut answers)));
        let (requests, answers) = (requests.take_definitions(true), answers.take_definitions(true));
        assert!(requests.contains_key("ChangeRequest") && answers.contains_key("Status"));
        for (name, schema) in &requests {
            assert!(answers.get(name).is_none_or(|other| other == schema), "{name} is two things");
        }
    }
}

//! Requests made from the document: each operation with bodies that its schema allows, and with such that are broken.

use lb_tests::schema::Schema;
use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::{Map, Value, json};

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// As the document writes it.
    pub(crate) template: String,
    /// With names where that has braces.
    pub(crate) path: String,
    pub(crate) body: Option<Vec<u8>>,
    /// Made from the schema and not broken afterwards.
    pub(crate) valid: bool,
    /// The schema's own validator refuses it.
    pub(crate) refused_by_schema: bool,
}

/// Any request to any operation.
pub(crate) fn requests(document: &Value) -> BoxedStrategy<Request> {
    let mut all = Vec::new();
    for (path, methods) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in methods.as_object().into_iter().flatten() {
            // Operations with a body are what there is to try; they come more often.
            let weight = if operation["requestBody"].is_object() { 12 } else { 1 };
            all.push((weight, (one(path, method, operation, document), names()).prop_map(fill).boxed()));
        }
    }
    proptest::strategy::Union::new_weighted(all).boxed()
}

/// Names for paths: some that the test's daemon knows, and what somebody may type. Without a name it would be another path.
fn names() -> impl Strategy<Value = String> {
    let typed = any::<String>().prop_map(|name| if name.is_empty() { "/".to_owned() } else { name });
    prop_oneof![select(vec!["sw1", "sw2", "here"]).prop_map(str::to_owned), typed]
}

/// Puts a name where the path has braces, in percent-encoding (RFC 3986 section 2.1).
fn fill((mut request, name): (Request, String)) -> Request {
    if let Some((before, rest)) = request.template.split_once('{') {
        let encoded: String = name
            .bytes()
            .map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") })
            .collect();
        let after = rest.split_once('}').map_or("", |(_, after)| after);
        request.path = format!("{before}{encoded}{after}");
    }
    request
}

fn one(path: &str, method: &str, operation: &Value, document: &Value) -> BoxedStrategy<Request> {
    let request = {
        let (path, method) = (path.to_owned(), method.to_owned());
        move |body, valid, refused_by_schema| Request {
            method: method.clone(),
            template: path.clone(),
            path: path.clone(),
            body,
            valid,
            refused_by_schema,
        }
    };
    let schema = operation["requestBody"]["content"]["application/json"]["schema"].clone();
    if schema.is_null() {
        return Just(request(None, true, false)).boxed();
    }
    let mut whole = json!({ "components": document["components"] });
    if let (Some(whole), Some(schema)) = (whole.as_object_mut(), schema.as_object()) {
        whole.extend(schema.clone());
    }
    let described = Schema::new(&whole).expect("the schema of a request is one");
    let judge = move |value: &Value| !described.allows(value);
    let valid = of(&schema, document, 0);
    let broken = (valid.clone(), breaking()).prop_map(|(value, how)| how.apply(value));
    let right = request.clone();
    let wrong = request.clone();
    let judged = std::sync::Arc::new(judge);
    prop_oneof![
        4 => valid.prop_map(move |value| right(Some(value.to_string().into_bytes()), true, false)),
        4 => broken.prop_map(move |value| {
            let refused = judged(&value);
            wrong(Some(value.to_string().into_bytes()), false, refused)
        }),
        1 => vec(any::<u8>(), 0..200).prop_map(move |bytes| {
            // Whether random bytes are JSON is not decided here.
            request(Some(bytes), false, false)
        }),
    ]
    .boxed()
}

/// Values that a schema allows. Of names some are those that the test's daemon knows.
fn of(schema: &Value, document: &Value, depth: usize) -> BoxedStrategy<Value> {
    if let Some(path) = schema["$ref"].as_str() {
        let target = document.pointer(path.trim_start_matches('#')).cloned().unwrap_or(json!(true));
        return merged(of(&target, document, depth + 1), schema, document, depth);
    }
    if let Some(constant) = schema.get("const") {
        return Just(constant.clone()).boxed();
    }
    if let Some(choices) = schema["enum"].as_array() {
        return select(choices.clone()).boxed();
    }
    for choice in ["oneOf", "anyOf"] {
        if let Some(schemas) = schema[choice].as_array() {
            let any: Vec<_> = schemas.iter().map(|s| of(s, document, depth + 1)).collect();
            return merged(proptest::strategy::Union::new(any).boxed(), schema, document, depth);
        }
    }
    let kinds: Vec<&str> = match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => vec!["null", "boolean", "integer", "string"],
    };
    let any: Vec<_> = kinds.into_iter().map(|kind| of_kind(kind, schema, document, depth)).collect();
    proptest::strategy::Union::new(any).boxed()
}

/// Where a schema has properties beside its choice, they are there too.
fn merged(
    chosen: BoxedStrategy<Value>,
    schema: &Value,
    document: &Value,
    depth: usize,
) -> BoxedStrategy<Value> {
    if !schema["properties"].is_object() {
        return chosen;
    }
    (chosen, object(schema, document, depth))
        .prop_map(|(chosen, beside)| match (chosen, beside) {
            (Value::Object(mut all), Value::Object(beside)) => {
                all.extend(beside);
                Value::Object(all)
            }
            (chosen, _) => chosen,
        })
        .boxed()
}

fn of_kind(kind: &str, schema: &Value, document: &Value, depth: usize) -> BoxedStrategy<Value> {
    let bound = |key: &str, default: i64| schema[key].as_i64().unwrap_or(default);
    match kind {
        "boolean" => any::<bool>().prop_map(Value::from).boxed(),
        "integer" => {
            let (least, most) = (bound("minimum", -5), bound("maximum", i64::from(u32::MAX)));
            prop_oneof![least..=most, Just(least), Just(most), least..=(least + 200).min(most)]
                .prop_map(Value::from)
                .boxed()
        }
        "string" => {
            let known = select(vec!["sw1", "sw2", "here"]).prop_map(Value::from);
            prop_oneof![3 => known, 1 => any::<String>().prop_map(Value::from)].boxed()
        }
        "object" => object(schema, document, depth),
        "array" if depth < 8 => {
            vec(of(&schema["items"], document, depth + 1), 0..3).prop_map(Value::from).boxed()
        }
        _ => Just(Value::Null).boxed(),
    }
}

fn object(schema: &Value, document: &Value, depth: usize) -> BoxedStrategy<Value> {
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut fields = Vec::new();
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let value = of(property, document, depth + 1);
        let there = required.contains(&name.as_str());
        let value = if there { value.prop_map(Some).boxed() } else { proptest::option::of(value).boxed() };
        let name = name.clone();
        fields.push(value.prop_map(move |value| (name.clone(), value)));
    }
    fields
        .prop_map(|fields| {
            let there = fields.into_iter().filter_map(|(name, value)| Some((name, value?)));
            Value::Object(there.collect::<Map<_, _>>())
        })
        .boxed()
}

/// A way to break a document.
#[derive(Clone, Debug)]
enum Breaking {
    /// A field goes.
    Remove(prop::sample::Index),
    /// A field becomes something else.
    Replace(prop::sample::Index, Value),
    /// A field comes that nobody knows.
    Add(String, Value),
    /// The whole becomes something else.
    Whole(Value),
}

fn breaking() -> BoxedStrategy<Breaking> {
    let odd = select(vec![
        json!(null),
        json!(-1),
        json!(1.5),
        json!(1e300),
        json!(u64::MAX),
        json!(""),
        json!("x".repeat(5000)),
        json!("\u{0}\u{1b}[2J\u{202e}"),
        json!([]),
        json!({}),
        json!([[[[[[[[1]]]]]]]]),
        json!("unlimited"),
        json!(true),
    ]);
    prop_oneof![
        any::<prop::sample::Index>().prop_map(Breaking::Remove),
        (any::<prop::sample::Index>(), odd.clone()).prop_map(|(at, value)| Breaking::Replace(at, value)),
        ("[a-z_]{1,12}", odd.clone()).prop_map(|(name, value)| Breaking::Add(name, value)),
        odd.prop_map(Breaking::Whole),
    ]
    .boxed()
}

impl Breaking {
    fn apply(self, mut document: Value) -> Value {
        let Some(fields) = document.as_object_mut() else { return document };
        let name = |at: prop::sample::Index, fields: &Map<String, Value>| {
            (!fields.is_empty()).then(|| fields.keys().nth(at.index(fields.len())).cloned()).flatten()
        };
        match self {
            Breaking::Remove(at) => drop(name(at, fields).and_then(|name| fields.remove(&name))),
            Breaking::Replace(at, value) => {
                drop(name(at, fields).and_then(|name| fields.insert(name, value)));
            }
            Breaking::Add(name, value) => drop(fields.insert(name, value)),
            Breaking::Whole(value) => return value,
        }
        document
    }
}

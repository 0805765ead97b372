//! JSON documents against a JSON schema.

use anyhow::{Result, anyhow};
use serde_json::Value;

/// A schema that documents can be held against.
pub struct Schema(jsonschema::Validator);

impl Schema {
    /// Reads a schema; what it refers to must be in it.
    ///
    /// # Errors
    /// When it is none.
    pub fn new(schema: &Value) -> Result<Schema> {
        jsonschema::validator_for(schema).map(Schema).map_err(|error| anyhow!("not a schema: {error}"))
    }

    /// Whether it allows the document.
    pub fn allows(&self, document: &Value) -> bool {
        self.0.is_valid(document)
    }

    /// What it does not allow in the document, each with its place.
    pub fn flaws(&self, document: &Value) -> Vec<String> {
        self.0.iter_errors(document).map(|error| format!("{}: {error}", error.instance_path())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn flaws_are_named_with_their_place() -> Result<()> {
        let schema =
            Schema::new(&json!({ "properties": { "port": { "type": "integer", "maximum": 65535 } } }))?;
        assert!(
            schema.allows(&json!({ "port": 65535 })) && schema.flaws(&json!({ "port": 65535 })).is_empty()
        );
        assert!(!schema.allows(&json!({ "port": 65536 })));
        let flaws = schema.flaws(&json!({ "port": 65536 }));
        assert!(flaws.len() == 1 && flaws[0].starts_with("/port: 65536"), "{flaws:?}");
        assert!(Schema::new(&json!({ "type": "nothing" })).is_err());
        Ok(())
    }
}

//! Compares answers with the OpenAPI description: every field that comes is described, every field that is promised comes.
//! Knows as much of JSON Schema as the description uses, and fails at the rest.

use serde_json::Value;

use crate::service::Answer;

/// The description.
pub(crate) struct Description(Value);

impl Description {
    pub(crate) fn parse(text: &str) -> Self {
        Self(serde_json::from_str(text).unwrap())
    }

    /// Checks an answer to a method of a path.
    pub(crate) fn check(&self, method: &str, path: &str, answer: &Answer) {
        let responses = &self.0["paths"][path][method]["responses"];
        assert!(responses.is_object(), "{method} {path} is not described");
        let exact = &responses[answer.status.to_string()];
        let response = self.resolve(if exact.is_null() { &responses["default"] } else { exact });
        assert!(response.is_object(), "{method} {path}: {} is not described", answer.status);
        match &response["content"]["application/json"]["schema"] {
            Value::Null => assert_eq!(answer.body, "", "{method} {path}: nothing was promised"),
            schema => {
                let problems = self.problems(schema, &answer.json(), path);
                assert_eq!(problems, Vec::<String>::new(), "{method} {path}");
            }
        }
    }

    fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str() {
            Some(reference) => self.0.pointer(reference.strip_prefix('#').unwrap()).unwrap_or_else(|| panic!("{reference} leads nowhere")),
            None => value,
        }
    }

    /// All properties and all required ones, of a schema and what it is made of.
    fn members<'a>(&'a self, schema: &'a Value) -> (Vec<(&'a str, &'a Value)>, Vec<&'a str>) {
        let schema = self.resolve(schema);
        let own = schema["properties"].as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), value));
        let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let mut sum: (Vec<_>, Vec<_>) = (own.collect(), required.collect());
        for part in schema["allOf"].as_array().into_iter().flatten() {
            let (properties, required) = self.members(part);
            sum.0.extend(properties);
            sum.1.extend(required);
        }
        sum
    }

    fn problems(&self, schema: &Value, value: &Value, place: &str) -> Vec<String> {
        let schema = self.resolve(schema);
        if let Some(allowed) = schema["enum"].as_array() {
            return if allowed.contains(value) { vec![] } else { vec![format!("{place}: {value} is none of {allowed:?}")] };
        }
        if !schema["allOf"].is_null() || schema["type"] == "object" {
            return self.object_problems(schema, value, place);
        }
        if schema["type"] == "array" {
            let Some(items) = value.as_array() else { return vec![format!("{place}: no array")] };
            let each =
                items.iter().enumerate().flat_map(|(index, item)| self.problems(&schema["items"], item, &format!("{place}[{index}]")));
            return each.collect();
        }
        let types: Vec<&str> = match &schema["type"] {
            Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
            other => vec![other.as_str().unwrap_or_else(|| panic!("{place}: no type in {schema}"))],
        };
        let right = types.iter().any(|&name| match name {
            "string" => value.is_string(),
            "integer" => value.is_u64(),
            "number" => value.is_number(),
            "boolean" => value.is_boolean(),
            "null" => value.is_null(),
            other => panic!("{place}: type {other}"),
        });
        if right { vec![] } else { vec![format!("{place}: {value} is no {types:?}")] }
    }

    fn object_problems(&self, schema: &Value, value: &Value, place: &str) -> Vec<String> {
        let Some(object) = value.as_object() else { return vec![format!("{place}: no object")] };
        let (properties, required) = self.members(schema);
        let missing = required.iter().filter(|name| !object.contains_key(**name)).map(|name| format!("{place}.{name}: missing"));
        let mut problems: Vec<String> = missing.collect();
        for (name, member) in object {
            let place = format!("{place}.{name}");
            let described = properties.iter().find(|(known, _)| known == name).map(|(_, schema)| *schema);
            match described.or_else(|| schema["additionalProperties"].as_object().map(|_| &schema["additionalProperties"])) {
                Some(schema) => problems.extend(self.problems(schema, member, &place)),
                None => problems.push(format!("{place}: not described")),
            }
        }
        problems
    }
}

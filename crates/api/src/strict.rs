//! Parses JSON strictly: repeated keys, indices for names and lists for objects are errors, though serde accepts
//! them.

use crate::{ApiRequest, Cause, Envelope, Failure, VERSION};
use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::cell::Cell;
use std::fmt;

/// Maximum number of values in a text: in memory a value takes many times the bytes of a short one in the text.
const MAX_VALUES: usize = 1 << 18;

/// Parses a text as JSON and refuses objects with repeated keys; error messages have line and column.
pub fn parse(text: &[u8]) -> Result<Value, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value = AnyValue(&Cell::new(MAX_VALUES)).deserialize(&mut deserializer)?;
    deserializer.end().map(|()| value)
}

impl Envelope {
    /// Parses a line as a request.
    ///
    /// # Errors The line is not exactly a request of this version of the API.
    pub fn parse(line: &[u8]) -> Result<Self, Failure> {
        let invalid = |message: String| Failure::new(Cause::Invalid, message);
        let value = parse(line).map_err(|error| invalid(error.to_string()))?;
        let Value::Object(mut fields) = value else {
            return Err(invalid("a request is a JSON object with `version` and `ask`".into()));
        };
        let version = fields.remove("version");
        if version.as_ref().and_then(Value::as_u64) != Some(u64::from(VERSION)) {
            let version = version.map_or("none".to_string(), |version| version.to_string());
            return Err(invalid(format!(
                "this agent has version {VERSION} of the API, the request is of version {version}; use one release \
                 of nexin"
            )));
        }
        check(&fields).map_err(invalid)?;
        let known = fields.keys().cloned().collect::<Vec<_>>();
        let request =
            ApiRequest::deserialize(Value::Object(fields)).map_err(|error| invalid(error.to_string()))?;
        // Serde accepts any field on a variant without fields.
        if request.has_no_fields()
            && let Some(field) = known.iter().find(|field| *field != "ask")
        {
            return Err(invalid(format!("unknown field `{field}`; this request has no fields")));
        }
        Ok(Self { version: VERSION, request })
    }
}

/// Refuses values that serde's derived code would accept with another meaning.
fn check(fields: &Map<String, Value>) -> Result<(), String> {
    match fields.get("ask") {
        Some(Value::String(_)) => {}
        Some(other) => return Err(format!("`ask` is the name of a request, not {other}")),
        None => return Err("missing field `ask`: the name of a request".into()),
    }
    match fields.get("http") {
        None | Some(Value::Object(_) | Value::Null) => Ok(()),
        Some(_) => Err("`http` is a JSON object".into()),
    }
}

impl ApiRequest {
    fn has_no_fields(&self) -> bool {
        matches!(
            self,
            Self::Status
                | Self::Endpoints
                | Self::Identities
                | Self::Services
                | Self::Policies
                | Self::Rules
                | Self::Readiness
                | Self::Stop
        )
    }
}

/// Deserializes any JSON value without repeated keys; the cell counts how many values are still allowed.
#[derive(Clone, Copy)]
struct AnyValue<'a>(&'a Cell<usize>);

impl<'de> DeserializeSeed<'de> for AnyValue<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let left = self.0.get().checked_sub(1);
        self.0.set(left.ok_or_else(|| de::Error::custom(format!("more than {MAX_VALUES} values")))?);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for AnyValue<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            list.push(item);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if fields.contains_key(&key) {
                return Err(de::Error::custom(format!("duplicate field `{key}`")));
            }
            fields.insert(key, entries.next_value_seed(self)?);
        }
        Ok(fields.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_requests_are_refused_with_a_reason() {
        let check = |line: &str, expected: &str| {
            let failure = Envelope::parse(line.as_bytes()).map(|envelope| envelope.request).unwrap_err();
            assert_eq!(failure.cause, Cause::Invalid);
            assert!(failure.to_string().contains(expected), "{line}: {failure}");
        };
        check("{", "EOF");
        check("", "EOF");
        check("[]", "a JSON object");
        check("\"status\"", "a JSON object");
        check(r#"{"ask":"status"}"#, "of version none");
        check(r#"{"version":9,"ask":"status"}"#, "of version 9");
        check(r#"{"version":"1","ask":"status"}"#, "of version \"1\"");
        check(r#"{"version":1}"#, "missing field `ask`");
        check(r#"{"version":1,"ask":"dance"}"#, "unknown variant `dance`");
        check(r#"{"version":1,"ask":5}"#, "not 5");
        check(r#"{"version":1,"ask":["rules"]}"#, "`ask` is the name of a request");
        check(r#"{"version":1,"ask":"status","ask":"stop"}"#, "duplicate field `ask`");
        check(r#"{"version":1,"version":1,"ask":"status"}"#, "duplicate field `version`");
        check(r#"{"version":1,"ask":"status","x":1}"#, "unknown field `x`");
        check(r#"{"version":1,"ask":"stop","x":1}"#, "unknown field `x`");
        check(r#"{"version":1,"ask":"delete","names":[],"force":true}"#, "unknown field `force`");
        check(r#"{"version":1,"ask":"delete","names":[]}{}"#, "trailing characters");
        let many = format!("[{}0]", "0,".repeat(MAX_VALUES));
        check(&format!(r#"{{"version":1,"ask":"delete","names":{many}}}"#), "more than 262144 values");
        check(&"[".repeat(100_000), "recursion limit");
        check(
            r#"{"version":1,"ask":"create-workload","namespace":"a","name":"b","adresses":[]}"#,
            "unknown field `adresses`",
        );
        check(
            r#"{"version":1,"ask":"create-workload","namespace":"a","name":"b","labels":{"x":"1","x":"2"}}"#,
            "duplicate field `x`",
        );
        let probe = r#"{"version":1,"ask":"explain","from":"a","to":"b","port":80,"protocol":"TCP""#;
        check(&format!(r#"{probe},"via":"c"}}"#), "unknown field `via`");
        check(&format!(r#"{probe},"http":["GET","/"]}}"#), "`http` is a JSON object");
        check(
            &format!(r#"{probe},"http":{{"method":"GET","path":"/","body":""}}}}"#),
            "unknown field `body`",
        );
    }

    #[test]
    fn valid_requests_are_accepted() {
        for request in [
            r#"{"version":1,"ask":"status"}"#,
            r#"{"ask":"observe","last":20,"follow":false,"filters":[],"version":1}"#,
            r#"{"version":1,"ask":"explain","from":"a","to":"b","port":80,"protocol":"TCP","http":{"method":"GET","path":"/"}}"#,
            r#"{"version":1,"ask":"create-workload","namespace":"a","name":"b","labels":{"x":"1"},"owner":null}"#,
        ] {
            Envelope::parse(request.as_bytes()).expect(request);
        }
    }
}

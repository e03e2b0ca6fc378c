//! The APIs that ExploreApi can look into: two small ones, whose data follows from the seed.

use portunus_proto::seal::{ExploreApiRequest, ExploreApiResponse};
use serde_json::{Map, Value, json};
use tonic::Status;

use crate::seed::Seed;

struct Operation {
    api: &'static str,
    id: &'static str,
    path: &'static str,
    /// Further operations that a caller may want next.
    next: &'static [&'static str],
    /// Names of the parameters that must be there.
    needs: &'static [&'static str],
}

const OPERATIONS: [Operation; 3] = [
    Operation { api: "tracker", id: "issues.list", path: "/issues", next: &["issues.get"], needs: &[] },
    Operation { api: "tracker", id: "issues.get", path: "/issues/{id}", next: &["issues.list"], needs: &["id"] },
    Operation { api: "weather", id: "forecast", path: "/forecast", next: &[], needs: &["city"] },
];

/// Calls an operation and cuts its answer down to the fields asked for.
///
/// # Errors
/// NOT_FOUND for an unknown API or operation, INVALID_ARGUMENT for bad parameters.
pub(super) fn explore(request: &ExploreApiRequest, seed: &Seed) -> Result<ExploreApiResponse, Status> {
    let known = |o: &&Operation| o.api == request.api_spec_id && o.id == request.operation_id;
    let Some(operation) = OPERATIONS.iter().find(known) else {
        let all: Vec<_> = OPERATIONS.iter().map(|o| format!("{}/{}", o.api, o.id)).collect();
        return Err(Status::not_found(format!(
            "there is no operation {}/{}; there are {}",
            request.api_spec_id,
            request.operation_id,
            all.join(", ")
        )));
    };
    let parameters = parameters(&request.parameters_json)?;
    if let Some(name) = operation.needs.iter().find(|name| !parameters.contains_key(**name)) {
        return Err(Status::invalid_argument(format!("parameters_json needs `{name}` for {}", operation.id)));
    }
    let data = slice(call(operation, &parameters, &request.tenant_id, seed), &request.fields);
    let hints = if request.include_hateoas_hints {
        json!({"next": operation.next.iter().map(|id| json!({"rel": id, "api": operation.api})).collect::<Vec<_>>()})
            .to_string()
    } else {
        String::new()
    };
    let metadata =
        json!({"operation": operation.id, "method": "GET", "path": operation.path, "parameters": operation.needs});
    Ok(ExploreApiResponse {
        sliced_data_json: data.to_string(),
        hints_json: hints,
        operation_metadata_json: metadata.to_string(),
    })
}

fn parameters(text: &str) -> Result<Map<String, Value>, Status> {
    match serde_json::from_str(if text.is_empty() { "{}" } else { text }) {
        Ok(Value::Object(parameters)) => Ok(parameters),
        Ok(_) => Err(Status::invalid_argument("parameters_json is not a JSON object")),
        Err(e) => Err(Status::invalid_argument(format!("parameters_json is not JSON: {e}"))),
    }
}

fn call(operation: &Operation, parameters: &Map<String, Value>, tenant: &str, seed: &Seed) -> Value {
    let issue = |id: &Value| {
        let number = |what: &str, bound| seed.pick(&format!("{tenant} {what} {id}"), bound);
        let state = if number("state", 2) == 0 { "open" } else { "closed" };
        json!({"id": id, "title": format!("Issue {id}"), "state": state, "votes": number("votes", 100)})
    };
    match operation.id {
        "issues.list" => (1..=5).map(|id| issue(&json!(id))).collect(),
        "issues.get" => issue(parameters.get("id").unwrap_or(&Value::Null)),
        _ => {
            let city = parameters.get("city").unwrap_or(&Value::Null);
            json!({"city": city, "celsius": seed.pick(&city.to_string(), 40), "source": "made up"})
        }
    }
}

/// Keeps only these fields of an object, or of each object in a list; no fields keep all.
fn slice(data: Value, fields: &[String]) -> Value {
    match data {
        _ if fields.is_empty() => data,
        Value::Array(items) => items.into_iter().map(|item| slice(item, fields)).collect(),
        Value::Object(mut object) => {
            object.retain(|name, _| fields.contains(name));
            Value::Object(object)
        }
        other => other,
    }
}

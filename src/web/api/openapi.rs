//! The OpenAPI 3.1 document, made from the list of operations and the types of the answers. `docs/openapi.json` is the same,
//! for reading without a server.

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::read::schema;
use super::{Answer, Link, Operation, Place, operations};
use crate::api::Problem;

/// The whole document.
pub fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    let problem = schema::<Problem>(&mut generator);
    let mut paths: Map<String, Value> = Map::new();
    for operation in operations() {
        let described = describe(&operation, &mut generator, problem.as_value());
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method] = described;
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "cc-ci",
            "version": "1",
            "description": "What a cc-ci appliance knows of its runs, and actions on them. Reading needs no token.",
            "license": {"name": "AGPL-3.0-or-later", "identifier": "AGPL-3.0-or-later"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": generator.take_definitions(true),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    })
}

fn describe(operation: &Operation, generator: &mut SchemaGenerator, problem: &Value) -> Value {
    let content = match &operation.answer {
        Answer::Json(typed) => json!({"application/json": {"schema": typed(generator)}}),
        Answer::Document => json!({"application/json": {"schema": {"type": "object"}}}),
        Answer::Text => json!({"text/plain": {"schema": {"type": "string"}}}),
    };
    let mut answers = Map::new();
    let mut good = json!({"description": operation.summary, "content": content});
    if !operation.links.is_empty() {
        good["links"] = operation.links.iter().map(|link| (link.name.to_owned(), link.describe())).collect();
    }
    answers.insert(operation.status.as_str().into(), good);
    let in_path = operation.parameters.iter().any(|parameter| parameter.place == Place::Path);
    let refusals = [400, 500].into_iter().chain(in_path.then_some(404)).chain(operation.refusals.iter().copied());
    let guarded = operation.scope.map(|_| [401, 403, 429]);
    for status in refusals.chain(guarded.into_iter().flatten()) {
        let content = match (status, &operation.answer) {
            (206, _) | (416, Answer::Text) => json!({"text/plain": {"schema": {"type": "string"}}}),
            _ => json!({"application/problem+json": {"schema": problem}}),
        };
        answers.insert(status.to_string(), json!({"description": meaning(status), "content": content}));
    }
    let parameters: Vec<Value> = operation
        .parameters
        .iter()
        .map(|parameter| {
            let place = match parameter.place {
                Place::Path => "path",
                Place::Query => "query",
                Place::Header => "header",
            };
            json!({
                "name": parameter.name, "in": place, "description": parameter.about,
                "required": parameter.place == Place::Path, "schema": parameter.schema,
            })
        })
        .collect();
    let mut described = json!({
        "operationId": operation.id, "summary": operation.summary, "parameters": parameters, "responses": answers,
    });
    if let Some(typed) = operation.body {
        let schema = typed(generator);
        described["requestBody"] = json!({"required": true, "content": {"application/json": {"schema": schema}}});
    }
    if let Some(scope) = operation.scope {
        described["security"] = json!([{"token": []}]);
        described["description"] = format!("The token needs the scope `{scope}`.").into();
    }
    described
}

impl Link {
    fn describe(&self) -> Value {
        json!({"operationId": self.to, "parameters": {"id": format!("$response.body#{}", self.run)}})
    }
}

fn meaning(status: u16) -> &'static str {
    match status {
        206 => "The range that was asked for",
        400 => "A parameter or the body cannot be read",
        401 => "No token, or not a good one",
        403 => "The token is good for other things",
        404 => "There is no such thing",
        409 => "It is not in a state in which that can be done",
        413 => "The body is too large",
        415 => "The body is no JSON",
        416 => "The log does not reach so far",
        429 => "Too often; wait a minute",
        502 => "The forge does not answer",
        503 => "This server asks no forge",
        _ => "A fault of the server",
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_document_in_the_tree_is_this_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
        let now = format!("{:#}\n", super::document());
        if std::env::var_os("CC_CI_WRITE_DOCUMENTS").is_some() {
            std::fs::write(path, &now).unwrap();
        }
        let tree = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            tree == now,
            "docs/openapi.json is old: CC_CI_WRITE_DOCUMENTS=1 cargo test --lib openapi writes it anew"
        );
    }
}

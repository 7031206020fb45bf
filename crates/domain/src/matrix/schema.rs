//! The JSON Schema of a matrix file: generated from the types, for editors and for our own structural checks.

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::Matrix;

/// The schema (draft 2020-12), as `assay schema` prints it.
pub fn json_schema() -> Value {
    let generator = SchemaGenerator::new(SchemaSettings::draft2020_12());
    generator.into_root_schema_for::<Matrix>().to_value()
}

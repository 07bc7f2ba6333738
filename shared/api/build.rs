//! Turns the description of the API into the JSON that is served, so that a description that cannot be read
//! fails the build and not the first caller.

use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let source = Path::new(&std::env::var("CARGO_MANIFEST_DIR")?).join("../../openapi.yaml");
    println!("cargo::rerun-if-changed={}", source.display());
    let described: serde_json::Value = serde_norway::from_str(&std::fs::read_to_string(&source)?)?;
    let target = Path::new(&std::env::var("OUT_DIR")?).join("openapi.json");
    std::fs::write(target, serde_json::to_vec(&described)?)?;
    Ok(())
}

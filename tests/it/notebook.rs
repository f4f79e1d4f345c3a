//! The shipped notebook, executed on what the demo wrote.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::weir::Workspace;
use crate::harness::{python, setup};

#[test]
fn it_runs_on_what_the_demo_wrote() {
    let workspace = Workspace::new();
    workspace.run(["demo"], Duration::from_secs(120)).expect_code(0);
    let dataset = workspace.path().join("processed_data/air-quality");
    let notebook = setup::root().join("notebooks/air_quality.ipynb");
    let result = python::run_with("notebook.py", &[notebook.as_os_str()], &[("WEIR_DATASET", dataset.as_os_str())]);
    assert_eq!([&result["pictures"], &result["warnings"]], [&Value::from(3), &json!([])]);
}

//! The definition in the chart is the one of the types. `REMORA_WRITE_CRDS=1` writes it.

use std::{env, fs, path::Path};

const HEADER: &str =
    "# Generated from control-plane/kube/src/crd by its test `definition`; REMORA_WRITE_CRDS=1 writes it anew.\n";

#[test]
fn the_chart_has_the_definition_of_the_types() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../charts/remora/crds/projects.remora.dev.yaml");
    let definition = remora_control_plane_kube::crd::definition();
    let text = format!("{HEADER}{}", serde_norway::to_string(&definition).unwrap());
    if env::var_os("REMORA_WRITE_CRDS").is_some_and(|value| value == "1") {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &text).unwrap();
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    assert!(there == text, "{} differs from the types; run this test with REMORA_WRITE_CRDS=1", path.display());
}

//! Orphans in a table.

use remora_proto_model::project::Orphan;

use crate::output::{Column, Listed, age, now_ms};

impl Listed for Orphan {
    const COLUMNS: &'static [Column] = &[
        Column::text("KIND"),
        Column::text("NAMESPACE"),
        Column::text("NAME"),
        Column::text("PROJECT"),
        Column::number("AGE"),
        Column::text("ENDING").only_wide(),
    ];

    fn cells(&self) -> Vec<String> {
        let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
        vec![
            self.kind.to_string(),
            or_dash(&self.namespace),
            self.name.clone(),
            or_dash(&self.project_id),
            if self.created_ms == 0 { "-".to_owned() } else { age(self.created_ms, now_ms()) },
            if self.ending { "yes" } else { "no" }.to_owned(),
        ]
    }

    fn name(&self) -> Vec<u8> {
        self.name.clone().into()
    }
}

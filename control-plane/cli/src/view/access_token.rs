//! Access tokens in tables.

use remora_proto_model::AccessToken;

use crate::output::{Column, Listed, age, now_ms, timestamp};

impl Listed for AccessToken {
    const COLUMNS: &'static [Column] = &[
        Column::text("ID"),
        Column::text("SUBJECT"),
        Column::text("VERBS"),
        Column::text("FOLDER"),
        Column::text("CONTAINERS"),
        Column::text("MADE BY"),
        Column::number("AGE"),
        Column::text("EXPIRES"),
    ];

    fn cells(&self) -> Vec<String> {
        let verbs: Vec<_> = self.verbs.iter().map(|verb| verb.as_str()).collect();
        let containers = self.containers.as_ref().map_or_else(
            || "all".to_owned(),
            |names| names.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
        );
        vec![
            self.id.clone(),
            self.subject.clone(),
            verbs.join(","),
            self.path_prefix.as_ref().map_or("all", |prefix| prefix.as_str()).to_owned(),
            containers,
            self.made_by.clone(),
            age(self.created_ms, now_ms()),
            timestamp(self.expires_ms),
        ]
    }

    fn name(&self) -> Vec<u8> {
        self.id.clone().into()
    }
}

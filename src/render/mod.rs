//! Pages from facts: `_schema.json`, `_lineage.md`, `_README.md`, and the tables of the command
//! line. Pure: every text of a stranger is escaped here and nowhere else.

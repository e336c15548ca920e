-- The fixed tables of a catalog, as DataChain 0.62 makes them.
CREATE TABLE meta (
	id INTEGER NOT NULL, 
	schema_version INTEGER, 
	PRIMARY KEY (id)
);
CREATE TABLE namespaces (
	id INTEGER NOT NULL, 
	uuid TEXT NOT NULL, 
	name TEXT NOT NULL, 
	description TEXT, 
	created_at DATETIME, 
	PRIMARY KEY (id), 
	UNIQUE (name)
);
CREATE TABLE projects (
	id INTEGER NOT NULL, 
	uuid TEXT NOT NULL, 
	name TEXT NOT NULL, 
	description TEXT, 
	created_at DATETIME, 
	namespace_id INTEGER NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (namespace_id, name), 
	FOREIGN KEY(namespace_id) REFERENCES namespaces (id) ON DELETE CASCADE
);
CREATE TABLE datasets (
	id INTEGER NOT NULL, 
	uuid TEXT NOT NULL, 
	project_id INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	description TEXT, 
	attrs JSON, 
	status INTEGER NOT NULL, 
	feature_schema JSON, 
	created_at DATETIME, 
	finished_at DATETIME, 
	error_message TEXT NOT NULL, 
	error_stack TEXT NOT NULL, 
	script_output TEXT NOT NULL, 
	sources TEXT NOT NULL, 
	query_script TEXT NOT NULL, 
	schema JSON, 
	PRIMARY KEY (id), 
	UNIQUE (project_id, name), 
	FOREIGN KEY(project_id) REFERENCES projects (id) ON DELETE CASCADE
);
CREATE TABLE datasets_versions (
	id INTEGER NOT NULL, 
	uuid TEXT NOT NULL, 
	dataset_id INTEGER NOT NULL, 
	version TEXT NOT NULL, 
	status INTEGER NOT NULL, 
	feature_schema JSON, 
	created_at DATETIME, 
	finished_at DATETIME, 
	error_message TEXT NOT NULL, 
	error_stack TEXT NOT NULL, 
	script_output TEXT NOT NULL, 
	num_objects BIGINT, 
	size BIGINT, 
	preview JSON, 
	sources TEXT NOT NULL, 
	query_script TEXT NOT NULL, 
	schema JSON, 
	job_id TEXT, 
	content_hash TEXT, 
	removed_at DATETIME, 
	pending_metadata_drop BOOLEAN NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (dataset_id, version), 
	FOREIGN KEY(dataset_id) REFERENCES datasets (id) ON DELETE CASCADE
);
CREATE TABLE datasets_dependencies (
	id INTEGER NOT NULL, 
	source_dataset_id INTEGER NOT NULL, 
	source_dataset_version_id INTEGER, 
	dataset_id INTEGER, 
	dataset_version_id INTEGER, 
	PRIMARY KEY (id), 
	FOREIGN KEY(source_dataset_id) REFERENCES datasets (id), 
	FOREIGN KEY(source_dataset_version_id) REFERENCES datasets_versions (id), 
	FOREIGN KEY(dataset_id) REFERENCES datasets (id), 
	FOREIGN KEY(dataset_version_id) REFERENCES datasets_versions (id)
);
CREATE TABLE jobs (
	id TEXT NOT NULL, 
	name TEXT NOT NULL, 
	status INTEGER NOT NULL, 
	created_at DATETIME NOT NULL, 
	finished_at DATETIME, 
	"query" TEXT NOT NULL, 
	query_type INTEGER NOT NULL, 
	workers INTEGER NOT NULL, 
	python_version TEXT, 
	error_message TEXT NOT NULL, 
	error_stack TEXT NOT NULL, 
	params JSON NOT NULL, 
	metrics JSON NOT NULL, 
	parent_job_id TEXT, 
	rerun_from_job_id TEXT, 
	run_group_id TEXT, 
	is_remote_execution BOOLEAN NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE checkpoints (
	id TEXT NOT NULL, 
	job_id TEXT, 
	hash TEXT NOT NULL, 
	partial BOOLEAN, 
	created_at DATETIME NOT NULL, 
	status INTEGER NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (job_id, hash)
);
CREATE TABLE checkpoint_events (
	id TEXT NOT NULL, 
	job_id TEXT NOT NULL, 
	run_group_id TEXT, 
	timestamp DATETIME NOT NULL, 
	event_type TEXT NOT NULL, 
	step_type TEXT NOT NULL, 
	udf_name TEXT, 
	dataset_name TEXT, 
	checkpoint_hash TEXT, 
	hash_partial TEXT, 
	hash_input TEXT, 
	hash_output TEXT, 
	rows_input BIGINT, 
	rows_processed BIGINT, 
	rows_output BIGINT, 
	rows_input_reused BIGINT, 
	rows_output_reused BIGINT, 
	rerun_from_job_id TEXT, 
	details JSON, 
	PRIMARY KEY (id)
);
CREATE TABLE dataset_version_jobs (
	id INTEGER NOT NULL, 
	dataset_version_id INTEGER NOT NULL, 
	job_id TEXT NOT NULL, 
	is_creator BOOLEAN NOT NULL, 
	created_at DATETIME, 
	PRIMARY KEY (id), 
	UNIQUE (dataset_version_id, job_id), 
	FOREIGN KEY(dataset_version_id) REFERENCES datasets_versions (id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX uq_datasets_uuid ON datasets (uuid);
CREATE INDEX idx_jobs_parent_job_id ON jobs (parent_job_id);
CREATE INDEX idx_jobs_rerun_from_job_id ON jobs (rerun_from_job_id);
CREATE INDEX idx_jobs_run_group_id ON jobs (run_group_id);
CREATE INDEX dc_idx_ce_job_id ON checkpoint_events (job_id);
CREATE INDEX dc_idx_ce_run_group_id ON checkpoint_events (run_group_id);
CREATE INDEX dc_idx_dvj_query ON dataset_version_jobs (job_id, is_creator, created_at);

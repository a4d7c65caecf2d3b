"""Pictures, maps and the report page of a run."""

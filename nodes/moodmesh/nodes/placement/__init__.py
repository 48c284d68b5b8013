"""Where a job runs: pure functions of the job, the documents and now (routing §4-6)."""

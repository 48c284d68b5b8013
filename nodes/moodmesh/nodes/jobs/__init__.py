"""The life of a job: submitter and executor, their journal, and what both may do when (routing §8)."""

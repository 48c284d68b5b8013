"""`bench campus`: past 200 devices, where nobody can know everybody (routing §17)."""

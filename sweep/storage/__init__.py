"""The database of studies: Optuna's tables and ours, on SQLite or PostgreSQL."""

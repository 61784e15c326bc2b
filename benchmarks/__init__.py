"""Programs that write the tables of docs/results.md, each with its date, commit and machine."""

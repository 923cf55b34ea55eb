"""What each command takes, one module a command, each with a `USAGE`. They import nothing that takes time."""

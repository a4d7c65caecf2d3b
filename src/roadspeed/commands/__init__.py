"""The subcommands of the `roadspeed` program, one module each."""

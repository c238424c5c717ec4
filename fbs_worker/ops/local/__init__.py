"""Everything on one machine: `fbs up` and the programs that it starts."""

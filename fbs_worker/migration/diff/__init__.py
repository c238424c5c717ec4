"""Compare the desired schema with the inspected one."""

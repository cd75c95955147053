"""Whether row-level security keeps tenants apart in the databases as they are, and not only as the migrations meant them to be."""

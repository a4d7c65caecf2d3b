"""Road graphs against labels: APLS, TOPO, SP, and the submission table."""

"""Where and how work runs on this computer: topology, core leases, pinned launch, compute engine."""

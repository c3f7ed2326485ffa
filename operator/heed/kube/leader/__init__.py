"""Leader election by a Lease, and fencing of the replica that lost it."""

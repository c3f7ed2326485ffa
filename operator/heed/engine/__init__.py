"""The loop: read, decide, commit, then act; over ports that the cluster and the laptop each implement."""

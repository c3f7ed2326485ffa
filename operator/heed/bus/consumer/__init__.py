"""Reading a stream from a cursor without gaps, and looking up what was published before."""

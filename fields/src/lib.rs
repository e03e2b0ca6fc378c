//! Heads and trailers as one list: names and values in one buffer.

//! Stories of single packets, each with all that it changes.

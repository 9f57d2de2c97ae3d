//! The driver that runs a program.

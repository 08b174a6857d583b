//! The harness: starts the real binaries on free ports in temp folders, and kills them on drop.

//! Rules that no lint sees: imports, doors, dead files.

//! What the tests share: which kind of test goes where is said in CONTRIBUTING.md.

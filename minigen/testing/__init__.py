"""What tests, lessons and `minigen check` share: strategies, the table of op cases, the checks."""

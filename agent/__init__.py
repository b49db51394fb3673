"""What runs on the box."""

VERSION = "0.1.0"

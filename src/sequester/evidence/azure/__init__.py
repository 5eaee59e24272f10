"""What Azure puts around the reports of its confidential guests."""

"""What people and programs are shown: text, JSON, SARIF, pages."""

"""Verification over HTTP: the answers of `sequester verify`, from any number of copies that share nothing."""

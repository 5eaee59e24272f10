"""Starting a guest: what it boots, how it is started, guarded and audited."""
